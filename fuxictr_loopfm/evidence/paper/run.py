"""Running a table of the paper on a prepared data set: every row, vertical model and seed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.folders import expids
from fuxictr_loopfm.config.zoo import find_model
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.evidence.benchmark.benchmark import FIRST_SEED, Benchmark, BenchmarkPlan
from fuxictr_loopfm.evidence.benchmark.configs import ModelName
from fuxictr_loopfm.evidence.methods import BASE
from fuxictr_loopfm.evidence.paper.overrides import (
    changed_teacher,
    resolved,
    vertical_changes,
    with_teacher_identity,
)
from fuxictr_loopfm.evidence.paper.table import PaperTable, TableRow, Vertical
from fuxictr_loopfm.files.atomic import atomic_path
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord, write_record
from fuxictr_loopfm.runs.vertical import run_vertical

RECORDS = "records"


@dataclass(frozen=True)
class _Setting:
    """A table on a data set: what all of its runs share."""

    table: PaperTable
    benchmark: Benchmark
    command: str

    @property
    def plan(self) -> BenchmarkPlan:
        return self.benchmark.plan

    @property
    def records(self) -> Path:
        """Folder of the records; tables share it, so a run that two have in common is one run."""
        return self.plan.out / RECORDS


@dataclass(frozen=True)
class _Entry:
    """One row for one vertical model, checked and ready to run with any seed."""

    vertical: Vertical
    row: TableRow
    experiment: Experiment
    teacher: Experiment | None


def run_table(
    checkout: Checkout,
    prepared: PreparedDataset,
    table: PaperTable,
    seeds: int,
    out: Path,
    gpu: int,
    models: Sequence[str] | None = None,
    zoo: Path | None = None,
    command: str | None = None,
) -> list[RunRecord]:
    """Run what has no record yet; returns the table's records in its order.

    All settings are checked before the first run.

    Args:
        checkout: models, configurations and data.
        prepared: the data set.
        table: what to run.
        seeds: number of seeds.
        out: folder of records and generated configurations, best shared by all tables of a data
            set. Where the table asks for transfer ratios, the test predictions are kept beside the
            records.
        gpu: GPU index, -1 for the CPU.
        models: other vertical models than the table's, see ``PaperTable.verticals``.
        zoo: a FuxiCTR ``model_zoo`` to take model classes from, or None.
        command: how to repeat it; None for ``paper_command`` of the arguments.
    Raises:
        ConfigError: settings that a model, the data set or LoopFM does not have.
        DataError: a training that failed.
    """
    verticals = table.verticals(models)
    command = command or paper_command(table, prepared.spec.dataset_id, seeds, models, zoo)
    names = tuple(vertical.name for vertical in verticals)
    plan = BenchmarkPlan(names, (BASE,), seeds, out, zoo, gpu, command)
    setting = _Setting(table, Benchmark(checkout, prepared, plan), command)
    return _run_all(setting, [e for vertical in verticals for e in _entries(setting, vertical)])


def paper_command(
    table: PaperTable,
    dataset_id: str,
    seeds: int,
    models: Sequence[str] | None = None,
    zoo: Path | None = None,
) -> str:
    """The command that repeats a table, without the paths of this machine."""
    parts = [f"make paper TABLE={table.number} DATASET={dataset_id} DATA=<raw folder>"]
    if models:
        parts.append(f'MODELS="{" ".join(models)}"')
    parts.append(f"SEEDS={seeds}")
    return " ".join([*parts, *(["ZOO=<model_zoo folder>"] if zoo is not None else [])])


def predictions_path(folder: Path, record: RunRecord) -> Path:
    """Where the test predictions of a run are kept: beside its record."""
    return folder / f"{Path(record.file_name).stem}.npz"


def _run_all(setting: _Setting, entries: Sequence[_Entry]) -> list[RunRecord]:
    seeds = range(FIRST_SEED, FIRST_SEED + setting.plan.seeds)
    records = []
    with tqdm(total=len(entries) * len(seeds), file=sys.stderr, unit="run") as bar:
        for entry in entries:
            workspace = Workspace(entry.experiment, entry.teacher)
            for seed in seeds:
                bar.set_description(f"{entry.experiment.expid} seed {seed}")
                records.append(_run(setting, entry, workspace, seed))
                bar.update()
    return records


def _run(setting: _Setting, entry: _Entry, workspace: Workspace, seed: int) -> RunRecord:
    experiment = replace(entry.experiment, params={**entry.experiment.params, "seed": seed})
    keep = bool(setting.table.transfer_ratio)
    record = setting.benchmark.finished(setting.records, experiment)
    if record is not None and (not keep or predictions_path(setting.records, record).is_file()):
        return record
    record, _, predictions = run_vertical(
        experiment,
        workspace,
        model_name=entry.vertical.name,
        command=setting.command,
        method=entry.row.name,
    )
    if keep:
        path = predictions_path(setting.records, record)
        _save_predictions(path, workspace, experiment, predictions)
    write_record(setting.records, record)
    return record


def _save_predictions(
    path: Path, workspace: Workspace, experiment: Experiment, predictions: dict[str, NDArray[Any]]
) -> None:
    """``y``, ``p``, ``user`` and, with a teacher, ``p_teacher``: (N,) each, in event order."""
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


def _entries(setting: _Setting, vertical: Vertical) -> Iterator[_Entry]:
    """The rows of one vertical model."""
    name = ModelName.parse(vertical.model)
    find_model(name.model, setting.benchmark.zoos)
    config_dir = setting.benchmark.config_dir(name)
    dataset_id = setting.benchmark.prepared.spec.dataset_id
    base = f"{name.prefix(dataset_id)}_{BASE}"
    if base not in expids(config_dir):
        raise ConfigError(f"{config_dir}: expected an expid {base}, found {expids(config_dir)}")
    model, _, variant = vertical.name.partition(":")
    prefix = "_".join(filter(None, (model, dataset_id, variant)))
    plain = _load(setting, name, config_dir, base, {})
    changes = vertical_changes(plain, vertical)
    for row in setting.table.runs():
        wanted = setting.table.settings(row)
        overrides = {**changes, **resolved(wanted, plain.params, row.name)}
        overrides["model_id"] = f"{prefix}_paper_{row.slug}"
        experiment = _load(setting, name, config_dir, base, overrides)
        teacher = experiment.load_teacher()
        if teacher is not None:
            teacher = changed_teacher(teacher, row, setting.benchmark.prepared.spec)
            if experiment.keys.needs_teacher:
                experiment = with_teacher_identity(experiment, teacher, row)
        yield _Entry(vertical, row, experiment, teacher)


def _load(
    setting: _Setting, name: ModelName, config_dir: Path, expid: str, overrides: dict[str, Any]
) -> Experiment:
    plan, checkout = setting.plan, setting.benchmark.checkout
    shared: dict[str, Any] = {"verbose": 0, "model_root": str(plan.out / "checkpoints")}
    if plan.zoo is not None:
        shared["loopfm_model_zoo"] = str(plan.zoo)
    return Experiment.load(
        config_dir,
        expid,
        base_dir=checkout.base_dir(name.model),
        zoo=checkout.zoo,
        gpu=plan.gpu,
        overrides={**shared, **overrides},
    )
