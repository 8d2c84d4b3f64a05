"""Runs side by side: the records of one after another, and a failing one is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import DATASET, DEEPFM_ZOO

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.benchmark.benchmark import Benchmark, BenchmarkPlan
from fuxictr_loopfm.evidence.benchmark.configs import ModelName
from fuxictr_loopfm.evidence.benchmark.runner import Entry
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord, read_records

MODEL = "DeepFM:small"
METHODS = ("base", "KD", "KD+LoopFM")
# They differ between any two runs.
TIMES = ("train_seconds", "started")


def _benchmark(root: Path, prepared: PreparedDataset, jobs: int) -> Benchmark:
    """A benchmark of its own checkout, so of its own artifacts."""
    (root / "data_prep").mkdir(parents=True)
    (root / "model_zoo").mkdir()
    for name in ("DeepFM", "DMIN"):
        (root / "model_zoo" / name).symlink_to(DEEPFM_ZOO / name)
    plan = BenchmarkPlan((MODEL,), METHODS, 2, root / "out", None, -1, "again", jobs=jobs)
    return Benchmark(Checkout(root), prepared, plan)


def _compared(record: RunRecord, root: Path) -> Any:
    kept = {name: value for name, value in record.to_dict().items() if name not in TIMES}
    return json.loads(json.dumps(kept).replace(root.name, "ROOT"))


@pytest.mark.slow
def test_side_by_side_gives_the_records_of_one_after_another(
    planted_log: PreparedDataset, tmp_path: Path
) -> None:
    records = {}
    for jobs in (1, 2):
        root = tmp_path / f"jobs{jobs}"
        made = _benchmark(root, planted_log, jobs).run()
        records[jobs] = [_compared(record, root) for record in made]
        teachers = (root / "data" / "artifacts" / DATASET).glob("teacher-*")
        assert len([path for path in teachers if path.is_dir()]) == 1
    assert [(record["method"], record["seed"]) for record in records[2]] == [
        (method, seed) for method in METHODS for seed in (2019, 2020)
    ]
    assert records[1] == records[2]


@pytest.mark.slow
def test_a_failing_run_is_named_and_the_records_of_the_others_stay(
    planted_log: PreparedDataset, tmp_path: Path
) -> None:
    benchmark = _benchmark(tmp_path / "failing", planted_log, 2)
    name = ModelName.parse(MODEL)
    config = benchmark.config_dir(name)
    prefix = name.prefix(DATASET)
    entries = []
    for method, learning_rate in (("base", 1e-3), ("control_unrelated_entities", 1e30)):
        changes = {"learning_rate": learning_rate, "model_id": f"{prefix}_{method}"}
        experiment = benchmark.load(config, name, f"{prefix}_base", changes)
        entries.append(Entry(MODEL, experiment, None, method))
    failing = entries[1].experiment.expid
    with pytest.raises(DataError, match=rf"^{failing} seed 20(19|20): .*finite numbers"):
        benchmark.run_entries(entries)
    kept = read_records([tmp_path / "failing" / "out" / "records"])
    assert {record.method for record in kept} == {"base"}
