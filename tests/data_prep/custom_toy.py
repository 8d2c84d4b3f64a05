"""A small log and a spec for it, for the tests of ``custom.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import custom
import numpy as np
import pandas as pd
import yaml

from fuxictr_loopfm.prepared.dataset import PreparedDataset

START = 1_700_000_000


def make_log() -> pd.DataFrame:
    """12 rows in time order, both classes in each pair of rows."""
    index = np.arange(12)
    return pd.DataFrame(
        {
            "uid": [f"u{row % 2}" for row in index],
            "item": [f"{row % 3:03d}" for row in index],
            "ts": START + index * 3600,
            "click": index % 2,
            "type": ["x", "", "y"] * 4,
            "price": index / 4,
            "age": [10, 18, 40] * 4,
            "views": index,
            "surface": ["feed", "ads"] * 6,
        }
    )


def make_spec(**changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "dataset_id": "Mine_s1",
        "log": "log.csv",
        "rename": {"type": "item_type"},
        "user": "uid",
        "item": "item",
        "time": {"column": "ts", "unit": "s"},
        "label": "click",
        "vertical": ["uid", "item", "item_type", "price"],
        "teacher_only": ["age", "views"],
        "numeric": ["price"],
        "buckets": {"age": [18, 25], "views": "log2"},
        "history": {"name": "past_items", "max_len": 3},
        "side_columns": ["surface"],
        "periods": {"kind": "chunks", "count": 3},
        "teacher_periods": 1,
    }
    spec.update(changes)
    return {key: value for key, value in spec.items() if value is not None}


def run(tmp_path: Path, spec: dict[str, Any], log: pd.DataFrame | None, *more: str) -> int:
    if log is not None:
        log.to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    arguments = ["--spec", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out"), *more]
    return custom.cli(arguments)


def prepare(
    tmp_path: Path, spec: dict[str, Any], log: pd.DataFrame | None = None, *more: str
) -> PreparedDataset:
    assert run(tmp_path, spec, make_log() if log is None else log, *more) == 0
    return PreparedDataset.load(tmp_path / "out")
