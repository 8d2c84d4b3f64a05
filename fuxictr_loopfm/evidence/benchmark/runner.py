"""The loop behind benchmarks and the paper's tables: entries times seeds, each of them run once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.identity import run_fingerprints, teacher_mark
from fuxictr_loopfm.engine import run_shards
from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.evidence.benchmark.results import RECORDS
from fuxictr_loopfm.evidence.methods import TEACHER
from fuxictr_loopfm.files.atomic import atomic_path
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord, read_records, write_record
from fuxictr_loopfm.runs.logged_teacher import run_logged_teacher
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


@dataclass(frozen=True)
class _Run:
    """An entry with one seed."""

    entry: Entry
    experiment: Experiment
    teacher: Experiment | None


def _seeded(entry: Entry, place: int, teacher_seeds: int) -> _Run:
    """The run with the seed number ``place``; ``teacher_seeds`` teachers take turns."""
    experiment, teacher = entry.experiment, entry.teacher
    if teacher is not None:
        seed = teacher.params["seed"] + place % teacher_seeds
        teacher = replace(teacher, params={**teacher.params, "seed": seed})
    params = {**experiment.params, "seed": FIRST_SEED + place}
    return _Run(entry, replace(experiment, params=params), teacher)


def run_entries(
    entries: Sequence[Entry],
    prepared: PreparedDataset,
    seeds: int,
    out: Path,
    command: str,
    jobs: int = 1,
    teacher_seeds: int | None = 1,
) -> list[RunRecord]:
    """Run what has no record yet; a second call goes on where the first was stopped.

    Args:
        entries: what to run.
        prepared: the data set that all of them read.
        seeds: number of seeds, from ``FIRST_SEED`` on.
        out: folder of results.
        command: how to repeat it, as the records say.
        jobs: how many runs at a time, each in a process of its own if there are several. They make
            the same records; what several need (views, teacher, log, store) the first makes.
        teacher_seeds: how many teachers take turns with the runs' seeds, the first with the seed of
            its configuration; None for one teacher per seed.
    Returns:
        The records by entry, then by seed.
    Raises:
        LoopFMError: a run failed, which the message names. Runs under way were finished; their
            records and all earlier ones stay.
    """
    folder = out / RECORDS
    teachers = teacher_seeds or seeds
    runs = [_seeded(entry, place, teachers) for entry in entries for place in range(seeds)]
    todo = [number for number, run in enumerate(runs) if _finished(folder, run, prepared) is None]
    if jobs > 1:
        todo = _teacher_first(runs, todo)
    names = [f"{run.experiment.expid} seed {run.experiment.params['seed']}" for run in runs]
    with tqdm(total=len(runs), initial=len(runs) - len(todo), file=sys.stderr, unit="run") as bar:
        watcher = _Bar(bar, names)
        try:
            task = _Runs(runs, folder, command, _log_path())
            run_shards(task, todo, workers=jobs, watcher=watcher)
        except LoopFMError as error:
            failed = watcher.failure or "a run"
            raise type(error)(f"{failed}: {error}") from error
    return read_records([_record_path(folder, run.experiment) for run in runs])


def _teacher_first(runs: Sequence[_Run], todo: Sequence[int]) -> list[int]:
    """The order for several processes: one for each teacher, all that need none, the rest.

    While some processes train the teachers, the others have work.
    """
    first: dict[str, int] = {}
    rest, without = [], []
    for number in todo:
        teacher = runs[number].teacher
        if teacher is None or not runs[number].experiment.keys.needs_teacher:
            without.append(number)
        elif first.setdefault(teacher_mark(teacher), number) != number:
            rest.append(number)
    return [*first.values(), *without, *rest]


class _Bar:
    """One progress bar for all processes; its text names the runs under way."""

    def __init__(self, bar: Any, names: Sequence[str]) -> None:
        self.failure: str | None = None
        self._bar = bar
        self._names = names
        self._under_way: list[int] = []

    def begun(self, shard: int) -> None:
        if shard not in self._under_way:
            self._under_way.append(shard)
        self._show()

    def done(self, shard: int) -> None:
        self._under_way.remove(shard)
        self._show()
        self._bar.update()

    def failed(self, shard: int) -> None:
        self.failure = self._names[shard]
        self._under_way.remove(shard)

    def _show(self) -> None:
        if self._under_way:
            self._bar.set_description(", ".join(self._names[each] for each in self._under_way))


@dataclass
class _Runs:
    """A task for ``engine.run_shards``: shard n is the n-th run.

    Attributes:
        runs: entries with their seeds.
        folder: of the records.
        command: how to repeat it, as the records say.
        log: file that workers log to, None for wherever a process logs.
    """

    runs: Sequence[_Run]
    folder: Path
    command: str
    log: Path | None
    _shared: tuple[Entry, Any] | None = field(default=None, init=False)
    _workspace: Workspace | None = field(default=None, init=False)

    def __call__(self, shard: int) -> None:
        run = self.runs[shard]
        if self.log is not None and _log_path() != self.log:
            log_to_file(self.log)
        shared = run.entry, run.teacher and run.teacher.params["seed"]
        if self._workspace is None or shared != self._shared:
            # Seeds of one entry that have one teacher read the same artifacts.
            self._shared = shared
            self._workspace = Workspace(run.experiment, run.teacher)
        _run(self.folder, run, self._workspace, self.command)


def predictions_path(folder: Path, record: RunRecord) -> Path:
    """Where the test predictions of a run are kept: beside its record."""
    return folder / f"{Path(record.file_name).stem}.npz"


def _record_path(folder: Path, experiment: Experiment) -> Path:
    return folder / f"{experiment.expid}-seed{experiment.params['seed']}.json"


def _finished(folder: Path, run: _Run, prepared: PreparedDataset) -> RunRecord | None:
    """The record of this very run, if an earlier call made it."""
    experiment = run.experiment
    path = _record_path(folder, experiment)
    if not path.is_file():
        return None
    record = read_records([path])[0]
    wanted = run_fingerprints(experiment, prepared.fingerprint)
    same = all(record.fingerprints[name] == value for name, value in wanted.items())
    if experiment.keys.needs_teacher and run.teacher is not None:
        same = same and is_noted_teacher(record.repeat, run.teacher)
    if run.entry.keeps_predictions:
        same = same and predictions_path(folder, record).is_file()
    return record if same else None


def _run(folder: Path, run: _Run, workspace: Workspace, command: str) -> RunRecord:
    entry, experiment = run.entry, run.experiment
    named = {"model_name": entry.model_name, "command": command}
    if entry.method == TEACHER:
        record, predictions = run_logged_teacher(experiment, workspace, **named)
    else:
        record, _, predictions = run_vertical(experiment, workspace, **named, method=entry.method)
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

    With past labels also ``p_grouped`` float32, the predictions that gAUC is of.

    All are (N,), in the order of the N test events; users are numbered from 0.
    """
    rows = workspace.view.rows("test")
    users = workspace.prepared.array(workspace.prepared.spec.user)[rows]
    kept: dict[str, Any] = {
        "y": predictions["y_true"].astype(np.int8),
        "p": predictions["y_pred"].astype(np.float32),
        "user": np.unique(users, return_inverse=True)[1].ravel().astype(np.int32),
    }
    if "y_grouped" in predictions:
        kept["p_grouped"] = predictions["y_grouped"].astype(np.float32)
    if experiment.keys.needs_teacher:
        logit = workspace.teacher_logit[rows].astype(np.float64)
        kept["p_teacher"] = (1 / (1 + np.exp(-logit))).astype(np.float32)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **kept)


def _log_path() -> Path | None:
    """The file that this process logs to, see ``log_to_file``."""
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler):
            return Path(handler.baseFilename)
    return None


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
