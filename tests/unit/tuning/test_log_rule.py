"""What follows from how often ids were seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fuxictr_loopfm.prepared.dataset import (
    Column,
    DatasetSpec,
    Periods,
    PreparedDataset,
    write_prepared,
)
from fuxictr_loopfm.tuning.log_rule import rule_of

SPEC = DatasetSpec(
    dataset_id="Ids_s1",
    label="click",
    user="user",
    item="item",
    time_unit="ordinal",
    columns=(Column("user"), Column("item"), Column("page", views=("teacher",))),
    periods=Periods.split(4, 2),
    period_rule="quarters",
    source="made up",
)


def log(folder: Path, users: int, rows: int = 400, page: int = 1) -> PreparedDataset:
    """In every period each user is in equally many rows; the test's rows have ids of their own."""
    number = np.arange(rows)
    period = number * 4 // rows + 1
    user = np.where(period == 4, number + rows, number % users)
    frame = pd.DataFrame(
        {
            "timestamp": number,
            "period": period,
            "click": (number // 3 % 2).astype(np.int8),
            "user": [f"u{code}" for code in user],
            "item": [f"i{code % 2}" for code in number],
            "page": [f"p{code % page}" for code in number],
        }
    )
    return write_prepared(folder, SPEC, frame)


@pytest.mark.parametrize(("users", "epochs"), [(50, 1), (5, 1), (4, 2), (2, 2)])
def test_a_teacher_passes_less_often_over_ids_that_are_seldom_seen(
    tmp_path: Path, users: int, epochs: int
) -> None:
    """Of 200 rows in the teacher's periods each user is in 200 / users."""
    rule = rule_of(log(tmp_path / "log", users), "teacher")
    assert rule.params["epochs"] == epochs
    assert rule.params["loopfm_checkpoint"] == "every_period"


def test_many_rare_ids_share_an_embedding_of_their_own(tmp_path: Path) -> None:
    """Each of 40 users is in 5 rows of the teacher's periods and in 2 or 3 of the other one's."""
    prepared = log(tmp_path / "log", 40)
    assert rule_of(prepared, "vertical").params == {"min_categr_count": 3}
    assert rule_of(prepared, "teacher").params["min_categr_count"] == 1


def test_only_the_views_own_columns_and_training_rows_count(tmp_path: Path) -> None:
    prepared = log(tmp_path / "log", 4, page=200)
    teacher, vertical = (rule_of(prepared, view) for view in ("teacher", "vertical"))
    assert teacher.most == {"user": 50, "item": 100, "page": 1}
    assert vertical.most == {"user": 25, "item": 50}
    assert teacher.params["epochs"] == 1 and vertical.params["min_categr_count"] == 1
