"""A log of eight impressions in four periods, and the store of its periods 3 and 4."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fuxictr_loopfm.store.schema import StoreManifest
from tests.made_up import store_fields
from tests.store_building import build_store


class TinyLog:
    """What ``verify_store`` reads of a prepared data set."""

    spec = SimpleNamespace(
        dataset_id="tiny_s1",
        time_unit="s",
        label="clk",
        periods=SimpleNamespace(test=(4,)),
    )
    fingerprint = "d" * 16
    timestamp = np.array([0, 5, 10, 15, 20, 20, 30, 30])
    period = np.array([1, 1, 2, 2, 3, 3, 4, 4], np.int32)
    label = np.array([0, 1, 0, 1, 1, 0, 0, 1], np.int8)
    user = np.array(["a", "b", "a", "b", "b", "a", "b", "a"], object)

    def array(self, column: str) -> np.ndarray:
        assert column == "user"
        return self.user


def fields(**changes: Any) -> dict[str, Any]:
    provenance = {
        "teacher_train_periods": [1, 2],
        "logged_periods": [3, 4],
        "compressor_fit_periods": [1, 2],
        "quantizer_fit_periods": [3],
        **changes.pop("provenance", {}),
    }
    codec = {"kind": "int8", "pad_code": [0]}
    usual = {"dataset_id": "tiny_s1", "dim": 1, "codec": codec, "provenance": provenance}
    return store_fields(**{**usual, **changes})


def build(folder: Path, rows: Any = (4, 5, 6, 7), **changes: Any) -> StoreManifest:
    """Build the store of some rows of the log; ``changes`` replace what is written."""
    log, rows = TinyLog(), np.array(rows, np.int64)
    arrays = {
        "manifest_fields": fields(),
        "key": log.user[rows],
        "timestamp": log.timestamp[rows],
        "event_id": rows,
        "codes": (rows[:, None] + 1).astype(np.int8),
        "pad_code": np.zeros(1, np.int8),
        "logit": rows.astype(np.float32) / 2,
        "side": {"label": log.label[rows]},
    }
    return build_store(folder, **{**arrays, **changes})
