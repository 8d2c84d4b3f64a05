"""Running a table of the paper: its rows and vertical models are entries of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.evidence.benchmark.benchmark import Benchmark, BenchmarkPlan
from fuxictr_loopfm.evidence.benchmark.configs import ModelName
from fuxictr_loopfm.evidence.benchmark.runner import Entry
from fuxictr_loopfm.evidence.methods import BASE
from fuxictr_loopfm.evidence.paper.overrides import (
    changed_teacher,
    resolved,
    vertical_changes,
    with_teacher_identity,
)
from fuxictr_loopfm.evidence.paper.table import PaperTable, Vertical
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord


def run_table(
    checkout: Checkout,
    prepared: PreparedDataset,
    table: PaperTable,
    seeds: int,
    out: Path,
    gpu: int,
    models: Sequence[str] | None = None,
    zoo: Path | None = None,
    jobs: int | None = 1,
) -> list[RunRecord]:
    """Run what has no record yet; returns the table's records in its order.

    All settings are checked before the first run.

    Args:
        checkout: models, configurations and data.
        prepared: the data set.
        table: what to run.
        seeds: number of seeds.
        out: folder of records and generated configurations, best shared by all tables of a data
            set: a run that two tables have in common is one run. Where the table asks for transfer
            ratios, the test predictions are kept beside the records.
        gpu: GPU index, -1 for the CPU.
        models: other vertical models than the table's, see ``PaperTable.verticals``.
        zoo: a FuxiCTR ``model_zoo`` to take model classes from, or None.
        jobs: how many runs at a time; None for as many as fit the machine.
    Raises:
        ConfigError: settings that a model, the data set or LoopFM does not have.
        DataError: a training that failed.
    """
    verticals = table.verticals(models)
    command = paper_command(table, prepared.spec.dataset_id, seeds, models, zoo)
    names = tuple(vertical.name for vertical in verticals)
    # The paper has one teacher.
    plan = BenchmarkPlan(names, (BASE,), seeds, out, zoo, gpu, command, jobs=jobs, teacher_seeds=1)
    benchmark = Benchmark(checkout, prepared, plan)
    entries: list[Entry] = []
    for vertical in verticals:
        entries += _entries(benchmark, table, vertical)
    return benchmark.run_entries(entries)


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


def _entries(benchmark: Benchmark, table: PaperTable, vertical: Vertical) -> Iterator[Entry]:
    """The rows of a table for one vertical model: its base experiment under the rows' changes."""
    spec = benchmark.prepared.spec
    name = ModelName.parse(vertical.model)
    config_dir = benchmark.config_dir(name)
    base = f"{name.prefix(benchmark.config_id)}_{BASE}"
    model, _, variant = vertical.name.partition(":")
    prefix = ModelName(model, variant).prefix(spec.dataset_id)
    plain = benchmark.load(config_dir, name, base)
    changes = vertical_changes(plain, vertical)
    for row in table.runs():
        overrides = {**changes, **resolved(table.settings(row), plain.params, row.name)}
        overrides["model_id"] = f"{prefix}_paper_{row.slug}"
        experiment = benchmark.load(config_dir, name, base, overrides)
        teacher = experiment.load_teacher()
        if teacher is not None:
            teacher = changed_teacher(teacher, row, spec)
            if experiment.keys.needs_teacher:
                experiment = with_teacher_identity(experiment, teacher, row)
        yield Entry(
            vertical.name,
            experiment,
            teacher,
            row.name,
            paper_table=table.number,
            keeps_predictions=bool(table.transfer_ratio),
        )
