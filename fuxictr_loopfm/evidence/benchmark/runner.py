"""The loop behind benchmarks and the paper's tables: entries times seeds, each of them run once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.identity import run_fingerprints
from fuxictr_loopfm.evidence.benchmark.results import RECORDS
from fuxictr_loopfm.files.atomic import atomic_path
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord, read_records, write_record
from fuxictr_loopfm.runs.repeat import is_noted_teacher
from fuxictr_loopfm.runs.vertical import run_vertical

FIRST_SEED = 2019


@dataclass(frozen=True)
class Entry:
    """A model under a method, checked and ready to run with any seed.

    Attributes:
        model_name: in records and tables, for example ``DeepFM:small``.
        experiment: what to run; its seed is replaced.
        teacher: what it learns from, None if it reads nothing of a teacher.
        method: name of the method in records and tables.
        paper_table: number of the paper's table that it is run for, None for a benchmark.
        keeps_predictions: the test predictions of each run are written beside its record.
    """

    model_name: str
    experiment: Experiment
    teacher: Experiment | None
    method: str
    paper_table: int | None = None
    keeps_predictions: bool = False


def run_entries(
    entries: Sequence[Entry], prepared: PreparedDataset, seeds: int, out: Path, command: str
) -> list[RunRecord]:
    """Run what has no record yet; a second call goes on where the first was stopped.

    Args:
        entries: what to run.
        prepared: the data set that all of them read.
        seeds: number of seeds, from ``FIRST_SEED`` on.
        out: folder of results.
        command: how to repeat it, as the records say.
    Returns:
        The records by entry, then by seed.
    """
    folder = out / RECORDS
    records = []
    with tqdm(total=len(entries) * seeds, file=sys.stderr, unit="run") as bar:
        for entry in entries:
            workspace: Workspace | None = None
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                bar.set_description(f"{entry.experiment.expid} seed {seed}")
                seeded = replace(entry.experiment, params={**entry.experiment.params, "seed": seed})
                record = _finished(folder, entry, seeded, prepared)
                if record is None:
                    workspace = workspace or Workspace(seeded, entry.teacher)
                    record = _run(folder, entry, seeded, workspace, command)
                records.append(record)
                bar.update()
    return records


def predictions_path(folder: Path, record: RunRecord) -> Path:
    """Where the test predictions of a run are kept: beside its record."""
    return folder / f"{Path(record.file_name).stem}.npz"


def _finished(
    folder: Path, entry: Entry, experiment: Experiment, prepared: PreparedDataset
) -> RunRecord | None:
    """The record of this very run, if an earlier call made it."""
    path = folder / f"{experiment.expid}-seed{experiment.params['seed']}.json"
    if not path.is_file():
        return None
    record = read_records([path])[0]
    wanted = run_fingerprints(experiment, prepared.fingerprint)
    same = all(record.fingerprints[name] == value for name, value in wanted.items())
    if experiment.keys.needs_teacher and entry.teacher is not None:
        same = same and is_noted_teacher(record.repeat, entry.teacher)
    if entry.keeps_predictions:
        same = same and predictions_path(folder, record).is_file()
    return record if same else None


def _run(
    folder: Path, entry: Entry, experiment: Experiment, workspace: Workspace, command: str
) -> RunRecord:
    record, _, predictions = run_vertical(
        experiment,
        workspace,
        model_name=entry.model_name,
        command=command,
        method=entry.method,
    )
    record = replace(record, paper_table=entry.paper_table)
    if entry.keeps_predictions:
        # Before the record: a record says that the run is finished.
        _save_predictions(predictions_path(folder, record), workspace, experiment, predictions)
    write_record(folder, record)
    return record


def _save_predictions(
    path: Path,
    workspace: Workspace,
    experiment: Experiment,
    predictions: Mapping[str, NDArray[Any]],
) -> None:
    """Write ``y`` int8, ``p`` float32, ``user`` int32 and, with a teacher, ``p_teacher`` float32.

    All are (N,), in the order of the N test events; users are numbered from 0.
    """
    start, stop = workspace.view.rows("test")
    users = workspace.prepared.array(workspace.prepared.spec.user)[start:stop]
    kept: dict[str, Any] = {
        "y": predictions["y_true"].astype(np.int8),
        "p": predictions["y_pred"].astype(np.float32),
        "user": np.unique(users, return_inverse=True)[1].ravel().astype(np.int32),
    }
    if experiment.keys.needs_teacher:
        logit = workspace.teacher_logit[start:stop].astype(np.float64)
        kept["p_teacher"] = (1 / (1 + np.exp(-logit))).astype(np.float32)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **kept)


def log_to_file(path: Path) -> None:
    """Send the log to a file, so that the console shows the progress bar alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for handler in logging.root.handlers[:]:
        logging.root.removeHandler(handler)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s P%(process)d %(levelname)s %(message)s",
        handlers=[logging.FileHandler(path, mode="a")],
    )
