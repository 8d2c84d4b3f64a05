"""One small store, computed by hand, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.made_up import store_fields
from tests.store_building import build_store


def manifest_fields(**changes: Any) -> dict[str, Any]:
    provenance = {
        "teacher_fingerprint": "7" * 16,
        "teacher_train_periods": [1, 2],
        "logged_periods": [3, 4],
        "compressor_fingerprint": "8" * 16,
        "compressor_fit_periods": [1, 2],
        "quantizer_fit_periods": [2],
        **changes.pop("provenance", {}),
    }
    codec = {"kind": "int4_uniform", "pad_code": [0, 0]}
    usual = {"dataset_id": "tiny_s1", "dim": 4, "codec": codec, "provenance": provenance}
    return store_fields(**{**usual, **changes})


# Events of the log's rows 10 to 15; sorted by (user, time, row): 11, 13, 15 | 10, 12, 14.
TINY = {
    "key": np.array([9, 4, 9, 4, 9, 4]),
    "timestamp": np.array([100, 100, 200, 200, 200, 200]),
    "event_id": np.arange(10, 16),
    "codes": np.arange(1, 13, dtype=np.uint8).reshape(6, 2),
    "pad_code": np.zeros(2, np.uint8),
    "logit": np.array([0.5, -1.0, 0.25, 2.0, -3.0, 4.0], np.float32),
    "side": {"label": np.array([0, 1, 0, 0, 1, 0], np.int8)},
}


def build(folder: Path, num_shards: int = 1, fields: dict[str, Any] | None = None, **changes: Any):
    return build_store(
        folder,
        manifest_fields=fields or manifest_fields(),
        num_shards=num_shards,
        **{**TINY, **changes},
    )
