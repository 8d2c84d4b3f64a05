"""What stores and run records say of teachers and runs that never were."""

from __future__ import annotations

from typing import Any

from fuxictr_loopfm.compression.codec import Codec
from fuxictr_loopfm.records.record import RunRecord


def store_fields(codec: Codec | None = None, /, **changes: Any) -> dict[str, Any]:
    """The ``manifest_fields`` of ``build_store``.

    Args:
        codec: of the store, with the width of its embeddings; None if ``changes`` describe it.
        changes: entries other than the usual; those of ``provenance`` are changed one by one.
    """
    provenance = {
        "teacher_fingerprint": "a" * 16,
        "teacher_train_periods": [1],
        "logged_periods": [2, 3],
        "compressor_fingerprint": "b" * 16,
        "compressor_fit_periods": [1],
        "quantizer_fit_periods": [1],
        **changes.pop("provenance", {}),
    }
    return {
        "dataset_id": "made_up_s1",
        "dataset_fingerprint": "d" * 16,
        **({} if codec is None else {"dim": codec.dim, "codec": codec.to_dict()}),
        "time_unit": "s",
        "key": "user",
        "taps": ["hidden_0"],
        "event_filter": None,
        "backfill": False,
        "provenance": provenance,
        **changes,
    }


def run_record(**changes: Any) -> RunRecord:
    """The record of a run of DeepFM; ``changes`` replace its fields."""
    values = {
        "expid": "DeepFM_tiny_s1_base",
        "model": "DeepFM",
        "method": "base",
        "encoder": "",
        "dataset_id": "tiny_s1",
        "protocol": "stream",
        "seed": 1,
        "metrics": {"AUC": 0.7, "gAUC": 0.6, "logloss": 0.5, "NE": 0.9},
        "params": 1000,
        "bytes_per_event": 0.0,
        "train_seconds": 1.0,
        "config": {"learning_rate": 0.001, "dnn_hidden_units": [32, 16]},
        "fingerprints": dict.fromkeys(("data", "code", "teacher", "store", "config"), "x"),
        "environment": {"python": "3.11"},
        "command": "make benchmark",
        "started": "2026-01-31T12:00:00+00:00",
    }
    return RunRecord(**{**values, **changes})
