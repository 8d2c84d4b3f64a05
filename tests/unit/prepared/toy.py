"""A prepared log of six rows, made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn

START = 1_650_000_000
SPEC = DatasetSpec(
    dataset_id="Toy_s1",
    label="click",
    user="user_id",
    item="item_id",
    time_unit="s",
    columns=(
        Column("user_id"),
        Column("age", views=("teacher",)),
        Column("item_id"),
        Column("price", "numeric", "float"),
    ),
    sequences=(SequenceColumn("seen", of="item_id", max_len=2),),
    item_columns=("item_id",),
    side_columns=("surface",),
    periods=Periods.split(3, 1),
    period_rule="two rows each",
    source="made up",
)


def toy_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "timestamp": START + np.array([0, 5, 5, 7, 8, 9]),
            "period": [1, 1, 2, 2, 3, 3],
            "click": [0, 1, 1, 0, 0, 1],
            "user_id": ["u", "v", "u", "u", "v", "u"],
            "age": ["18", "", "18", "18", "", "18"],
            "item_id": ["a", "b", "ü", "a", "b", "c"],
            "price": [1.5, 2.0, 0.0, -1.0, 3.25, 2.0],
            "surface": [1, 2, 1, 1, 2, 1],
        }
    )


def toy_sequences() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    # User u saw a (0), ü (5), a (7), c (9); user v saw b (5), b (8). Strictly before each event:
    values = np.array([s.encode() for s in ("a", "ü", "a", "c", "b", "b")])
    return {"seen": (values, np.array([0, 0, 1, 2, 5, 3]), np.array([0, 0, 1, 2, 1, 2]))}
