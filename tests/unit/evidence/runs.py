"""Run records of no real run, for tests of what is made of records."""

from __future__ import annotations

from typing import Any

from fuxictr_loopfm.records.record import RunRecord

HOSTILE = "<script>alert(1)</script>|`*x*` \"q\" 'r' &amp; _u_ a_b [l](m)\n# h"


def run(
    method: str = "base", seed: int = 1, auc: float = 0.7, gauc: float | None = 0.6, **changes: Any
) -> RunRecord:
    """A run of DeepFM on ``tiny_s1``; ``changes`` replace fields of the record."""
    metrics = {"AUC": auc, "logloss": 0.5, "NE": 0.9} | ({} if gauc is None else {"gAUC": gauc})
    values = {
        "expid": "e",
        "model": "DeepFM",
        "method": method,
        "encoder": "mean" if "seq" in method or "Loop" in method else "",
        "dataset_id": "tiny_s1",
        "protocol": "stream",
        "seed": seed,
        "metrics": metrics,
        "params": 1000,
        "bytes_per_event": 0.0,
        "train_seconds": 1.0,
        "config": {"learning_rate": 0.001, "seed": seed, "model_id": f"id{seed}", "gpu": -1},
        "fingerprints": dict.fromkeys(("data", "code", "teacher", "store", "config"), "x"),
        "environment": {"python": "3.11", "torch": "2.1", "cpu": "Chip", "cores": 2},
        "command": "make benchmark DATASET=tiny_s1",
        "started": "2026-01-31T12:00:00+00:00",
    }
    return RunRecord(**{**values, **changes})


def seeds(method: str, aucs: list[float], **changes: Any) -> list[RunRecord]:
    """A run per AUC, with the seeds 1, 2 and so on."""
    return [run(method, seed, auc, **changes) for seed, auc in enumerate(aucs, start=1)]
