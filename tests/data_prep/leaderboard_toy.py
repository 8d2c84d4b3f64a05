"""Takes a small raw folder to a leaderboard, in a copy of the checkout that shares nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.evidence.benchmark.benchmark import Benchmark, BenchmarkPlan
from fuxictr_loopfm.evidence.leaderboard.render import write_leaderboard
from fuxictr_loopfm.pipeline.preparation import prepare
from fuxictr_loopfm.records.record import RunRecord

ROOT = Path(__file__).parents[2]
METHODS = ("base", "LoopFM")


def leaderboard(dataset_id: str, raw: Path, folder: Path) -> dict[str, RunRecord]:
    """Prepare ``raw`` and run base and LoopFM with DeepFM and one seed; the record per method.

    The configurations are generated ones: the committed are made for the real files.
    """
    for name in ("model_zoo", "data_prep"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    checkout, out = Checkout(folder), folder / "runs"
    prepared = prepare(checkout, dataset_id, raw)
    plan = BenchmarkPlan(("DeepFM",), METHODS, 1, out, None, -1, "pytest")
    records = Benchmark(checkout, prepared, plan).run()
    write_leaderboard(records, out)
    text = (out / "leaderboard.md").read_text(encoding="utf-8")
    assert dataset_id in text and all(f"| {method} " in text for method in METHODS)
    return dict(zip(METHODS, records, strict=True))
