"""A prepared log of twelve events in four periods: small enough to check by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fuxictr_loopfm.prepared.dataset import (
    Column,
    DatasetSpec,
    Periods,
    SequenceColumn,
)

USERS = ["u1", "u2", "u1", "u3", "u2", "u1", "u1", "u2", "u3", "u1", "u4", "u2"]
ITEMS = ["a", "b", "a", "c", "a", "b", "d", "a", "d", "e", "a", "d"]
TIMES = [10, 20, 30, 40, 50, 60, 70, 80, 80, 90, 100, 110]
PERIODS = [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
LABELS = [0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 1]
PRICES = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]
HOURS = ["7", "8", "", "7", "9", "9", "7", "10", "8", "7", "11", "9"]
MAX_LEN = 3


def item_histories() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The user's items strictly before each event, newest ``MAX_LEN``, by a double loop."""
    order = sorted(range(len(USERS)), key=lambda row: (USERS[row], row))
    values = np.array([ITEMS[row].encode() for row in order])
    end, length = [], []
    for row, user in enumerate(USERS):
        own = [i for i, other in enumerate(order) if USERS[other] == user]
        past = [i for i in own if TIMES[order[i]] < TIMES[row]]
        end.append(own[0] + len(past))
        length.append(min(len(past), MAX_LEN))
    return values, np.array(end), np.array(length, dtype=np.uint16)


def history_strings(rows: range | list[int]) -> list[str]:
    """What ``item_histories`` says, written out per event as FuxiCTR reads it."""
    values, end, length = item_histories()
    return ["^".join(v.decode() for v in values[end[i] - length[i] : end[i]]) for i in rows]


def log_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "timestamp": TIMES,
            "period": PERIODS,
            "click": LABELS,
            "user": USERS,
            "item": ITEMS,
            "hour": HOURS,
            "price": np.array(PRICES, dtype=np.float32),
            "segment": ["x"] * 12,
        }
    )


def log_spec(**changes: Any) -> DatasetSpec:
    fields: dict[str, Any] = {
        "dataset_id": "tiny_s1",
        "label": "click",
        "user": "user",
        "item": "item",
        "time_unit": "ordinal",
        "columns": (
            Column("user"),
            Column("item"),
            Column("hour", dtype="int"),
            Column("price", "numeric", "float"),
            Column("segment", views=("teacher",)),
        ),
        "sequences": (SequenceColumn("item_his", "item", MAX_LEN),),
        "item_columns": ("item",),
        "periods": Periods(4, (1, 2), (3, 4), (3,), (4,)),
        "period_rule": "three events each",
        "source": "made up",
    }
    return DatasetSpec(**{**fields, **changes})


def feature_cols() -> list[dict[str, Any]]:
    return [
        {"name": ["user", "item"], "active": True, "dtype": "str", "type": "categorical"},
        {"name": "hour", "active": True, "dtype": "int", "type": "categorical"},
        {
            "name": "price",
            "active": True,
            "dtype": "float",
            "type": "numeric",
            "normalizer": "StandardScaler",
        },
        {
            "name": "item_his",
            "active": True,
            "dtype": "str",
            "type": "sequence",
            "share_embedding": "item",
            "max_len": MAX_LEN,
            "padding": "pre",
        },
    ]
