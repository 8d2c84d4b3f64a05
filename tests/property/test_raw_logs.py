"""A raw CSV as it arrived, through ``data_prep/custom.py``: its order and its item histories."""

from __future__ import annotations

import tempfile
from pathlib import Path

import custom
import numpy as np
import pandas as pd
import yaml
from brute_join import scaled
from delivered import IN_MEMORY
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_loopfm.prepared.dataset import PreparedDataset

USERS = ["u1", "u10", "u", "\u00e9", "e\u0301", "\u6728", "\U0001f600", "a b", "a,b", 'q"q']
MAX_LEN, START = 3, 1_600_000_000
RawRow = tuple[str, str, int]


@st.composite
def raw_rows(draw: st.DrawFn) -> list[RawRow]:
    """(user, item, second) in any order; up to four share a second.

    A period takes all rows of a second, so if many more did, another would be left without rows.
    """
    users = draw(st.lists(st.sampled_from(USERS), min_size=1, max_size=4, unique=True))
    size, tied = draw(st.integers(24, 60)), draw(st.integers(1, 4))
    deal = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    second = deal.permutation(size) // tied
    user, item = (deal.integers(0, high, size) for high in (len(users), 9))
    return [
        (users[u], f"i{i}", START + s)
        for u, i, s in zip(user.tolist(), item.tolist(), second.tolist(), strict=True)
    ]


def prepared_from(folder: Path, rows: list[RawRow]) -> PreparedDataset:
    # Both labels stand in every three rows, so every period has them whatever its rows are.
    frame = pd.DataFrame(rows, columns=["user", "item", "ts"])
    order = np.argsort(frame["ts"].to_numpy(), kind="stable")
    frame["click"] = 0
    frame.loc[order[::2], "click"] = 1
    frame["arrived"] = np.arange(len(rows))
    frame.to_csv(folder / "log.csv", index=False)
    spec = {
        "dataset_id": "Raw_s1",
        "log": "log.csv",
        "user": "user",
        "item": "item",
        "time": {"column": "ts", "unit": "s"},
        "label": "click",
        "vertical": ["user", "item"],
        "side_columns": ["arrived"],
        "duplicates": "keep",
        "history": {"name": "past_items", "max_len": MAX_LEN},
        "periods": {"kind": "chunks", "count": 3},
        "teacher_periods": 1,
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    arguments = ["--spec", str(folder / "spec.yaml"), "--out", str(folder / "out")]
    assert custom.cli(arguments) == 0
    return PreparedDataset.load(folder / "out")


@settings(max_examples=scaled(15))
@given(raw_rows())
def test_rows_are_put_in_time_order_and_items_are_those_before(rows: list[RawRow]) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        prepared = prepared_from(Path(folder), rows)
        arrived = prepared.array("arrived").tolist()
        values, end, length = prepared.sequence("past_items")
    assert arrived == sorted(range(len(rows)), key=lambda row: (rows[row][2], row))
    for place, row in enumerate(arrived):
        user, _, now = rows[row]
        past = [(t, other) for other, (u, _, t) in enumerate(rows) if u == user and t < now]
        expected = [rows[other][1] for _, other in sorted(past)][-MAX_LEN:]
        stop = int(end[place])
        found = values[stop - int(length[place]) : stop].tolist()
        assert [item.decode() for item in found] == expected
