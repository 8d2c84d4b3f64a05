"""A prepared data set without its test period holds nothing of that period."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.columns_io import SequenceArrays
from fuxictr_loopfm.prepared.dataset import (
    Column,
    DatasetSpec,
    Periods,
    PreparedDataset,
    SequenceColumn,
    write_prepared,
)
from fuxictr_loopfm.prepared.dev_form import without_test

SPEC = DatasetSpec(
    dataset_id="Toy_s1",
    label="click",
    user="user",
    item="item",
    time_unit="ordinal",
    columns=(Column("user"), Column("item")),
    sequences=(SequenceColumn("past", "item", 2),),
    periods=Periods.split(5, 2),
    period_rule="two rows each",
    source="made up",
)


def whole(folder: Path, spec: DatasetSpec = SPEC) -> PreparedDataset:
    """Ten rows in five periods; the histories are those of two users, oldest first."""
    frame = pd.DataFrame(
        {
            "timestamp": range(10),
            "period": np.arange(10) // 2 + 1,
            "click": [0, 1] * 5,
            "user": ["a", "b"] * 5,
            "item": [f"i{number}" for number in range(10)],
        }
    )
    values = np.array([f"i{n}" for n in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)], dtype="S")
    past = [number // 2 for number in range(10)]
    end = np.array([first + 5 * (number % 2) for number, first in enumerate(past)])
    length = np.minimum(past, 2).astype(np.uint16)
    return write_prepared(folder, spec, frame, {"past": (values, end, length)})


def tokens(sequence: SequenceArrays) -> list[list[bytes]]:
    values, end, length = sequence
    return [list(values[e - n : e]) for e, n in zip(end, length.astype(int), strict=True)]


def test_it_has_the_rows_and_histories_before_the_test_and_no_other_token(tmp_path: Path) -> None:
    given = whole(tmp_path / "whole")
    dev = without_test(given, tmp_path / "dev")
    assert (dev.spec.dataset_id, dev.spec.rows) == ("Toy_dev_s1", 8)
    assert dev.spec.periods == Periods.split(4, 2)
    pd.testing.assert_frame_equal(dev.frame(), given.frame().iloc[:8])
    assert tokens(dev.sequence("past")) == tokens(given.sequence("past"))[:8]
    assert set(dev.sequence("past")[0]) == {b"i0", b"i1", b"i2", b"i3", b"i4", b"i5"}


def test_all_of_several_test_periods_are_left_out(tmp_path: Path) -> None:
    periods = replace(Periods.split(5, 1), vertical_train=(2, 3), test=(4, 5))
    dev = without_test(whole(tmp_path / "whole", replace(SPEC, periods=periods)), tmp_path / "dev")
    assert dev.spec.periods == Periods.split(3, 1) and dev.spec.rows == 6


def test_a_log_without_a_period_to_choose_on_is_refused(tmp_path: Path) -> None:
    given = whole(tmp_path / "whole", replace(SPEC, periods=Periods.split(5, 3)))
    with pytest.raises(DataError, match=r"expected at least two .* found \[4\]"):
        without_test(given, tmp_path / "dev")
    assert not (tmp_path / "dev").exists()
