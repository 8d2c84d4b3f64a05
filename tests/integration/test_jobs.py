"""Runs side by side: the same records, failures are named, and all of them can be stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from planted import BENCHMARK, DATASET, DEEPFM_ZOO

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.benchmark.benchmark import Benchmark, BenchmarkPlan
from fuxictr_loopfm.evidence.benchmark.configs import ModelName
from fuxictr_loopfm.evidence.benchmark.runner import Entry
from fuxictr_loopfm.exits import GO_ON, INTERRUPTED
from fuxictr_loopfm.files.atomic import TEMPORARY_PREFIX
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord, read_records

MODEL = "DeepFM:small"
METHODS = ("base", "KD", "KD+LoopFM", "teacher")
# They differ between any two runs.
TIMES = ("train_seconds", "started")
REPOSITORY = Path(__file__).parents[2]
# A shell has what it starts in the background ignore Ctrl-C, and this test perhaps with it.
STOPPABLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)" + BENCHMARK


def _benchmark(root: Path, prepared: PreparedDataset, jobs: int) -> Benchmark:
    """A benchmark of its own checkout, so of its own artifacts."""
    _new_checkout(root)
    plan = BenchmarkPlan((MODEL,), METHODS, 2, root / "out", None, -1, "again", jobs=jobs)
    return Benchmark(Checkout(root), prepared, plan)


def _new_checkout(root: Path) -> None:
    (root / "data_prep").mkdir(parents=True)
    (root / "model_zoo").mkdir()
    for name in ("DeepFM", "DMIN"):
        (root / "model_zoo" / name).symlink_to(DEEPFM_ZOO / name)


def _compared(record: RunRecord, root: Path) -> Any:
    kept = {name: value for name, value in record.to_dict().items() if name not in TIMES}
    return json.loads(json.dumps(kept).replace(root.name, "ROOT"))


def _metrics(records: Sequence[RunRecord]) -> dict[tuple[str, int], dict[str, float]]:
    return {(record.method, record.seed): record.metrics for record in records}


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
        assert len([path for path in teachers if path.is_dir()]) == 2, "one for each seed"
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


def _started(root: Path, prepared: PreparedDataset) -> subprocess.Popen[str]:
    words = ["--dataset", DATASET, "--data", str(prepared.folder), "--models", MODEL]
    words += ["--methods", *METHODS, "--seeds", "2", "--jobs", "2", "--out", str(root / "out")]
    return subprocess.Popen(
        [sys.executable, "-c", STOPPABLE, *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _wait_for(is_so: Callable[[], bool], what: str) -> None:
    for _ in range(1200):
        if is_so():
            return
        time.sleep(0.1)
    pytest.fail(f"waited two minutes for {what}")


def _group_is_empty(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_ctrl_c_ends_every_run_and_the_same_command_goes_on(
    planted_log: PreparedDataset, tmp_path: Path
) -> None:
    root = tmp_path / "stopped"
    _new_checkout(root)
    log = root / "out" / "benchmark.log"

    def two_are_at_work() -> bool:
        shown = log.read_text(encoding="utf-8") if log.exists() else ""
        return len(set(re.findall(r" P(\d+) INFO .*Start training", shown))) == 2

    process = _started(root, planted_log)
    _wait_for(two_are_at_work, "two runs in training")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert shown.rstrip().endswith(GO_ON)
    assert "Traceback" not in shown
    _wait_for(lambda: _group_is_empty(process.pid), "the runs to end")
    assert not list(root.rglob(f"{TEMPORARY_PREFIX}*"))

    process = _started(root, planted_log)
    shown, _ = process.communicate(timeout=500)
    assert process.returncode == 0, shown
    undisturbed = _benchmark(tmp_path / "whole", planted_log, 1).run()
    assert _metrics(read_records([root / "out" / "records"])) == _metrics(undisturbed)
