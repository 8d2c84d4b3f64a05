"""Run records of no real run, for tests of what is made of records."""

from __future__ import annotations

from typing import Any

from fuxictr_loopfm.records.comparison import Comparison, arm_mark
from fuxictr_loopfm.records.record import RunRecord
from tests.made_up import run_record

HOSTILE = "<script>alert(1)</script>|`*x*` \"q\" 'r' &amp; _u_ a_b [l](m)\n# h"


def run(
    method: str = "base", seed: int = 1, auc: float = 0.7, gauc: float | None = 0.6, **changes: Any
) -> RunRecord:
    """A run of DeepFM on ``tiny_s1``; ``changes`` replace fields of the record."""
    metrics = {"AUC": auc, "logloss": 0.5, "NE": 0.9} | ({} if gauc is None else {"gAUC": gauc})
    values = {
        "expid": "e",
        "method": method,
        "encoder": "mean" if "seq" in method or "Loop" in method else "",
        "seed": seed,
        "metrics": metrics,
        "config": {"learning_rate": 0.001, "seed": seed, "model_id": f"id{seed}", "gpu": -1},
        "environment": {"python": "3.11", "torch": "2.1", "cpu": "Chip", "cores": 2},
        "command": "make benchmark DATASET=tiny_s1",
    }
    return run_record(**{**values, **changes})


def seeds(method: str, aucs: list[float], **changes: Any) -> list[RunRecord]:
    """A run per AUC, with the seeds 1, 2 and so on."""
    return [run(method, seed, auc, **changes) for seed, auc in enumerate(aucs, start=1)]


def compared(
    first: list[RunRecord], second: list[RunRecord], value: float, low: float, high: float
) -> Comparison:
    """A recorded difference of AUC between two arms."""
    return Comparison(
        arm_mark(first),
        arm_mark(second),
        (first[0].method, second[0].method),
        tuple(run.seed for run in first),
        {"AUC": [value, low, high]},
        users=10,
        rows=100,
        resamples=1000,
        resampling_seed=0,
    )
