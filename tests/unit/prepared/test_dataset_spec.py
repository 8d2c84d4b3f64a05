"""The description of a prepared data set: round trip, references, periods, names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn
from fuxictr_loopfm.prepared.parts import name_problems
from tests.unit.prepared.toy import SPEC


def test_dictionary_round_trip_through_yaml() -> None:
    assert DatasetSpec.from_dict(yaml.safe_load(yaml.safe_dump(SPEC.to_dict()))) == SPEC


def test_when_side_columns_are_known() -> None:
    assert "known" not in SPEC.to_dict() and SPEC.known_columns == {}
    told = replace(
        SPEC,
        side_columns=("surface", "dwell", "sold"),
        known={
            "surface": "at_impression",
            "sold": {"after_seconds": 2.5},
        },
    )
    assert DatasetSpec.from_dict(yaml.safe_load(yaml.safe_dump(told.to_dict()))) == told
    assert told.known_columns["dwell"] == "after_label_delay"
    for known in (
        {"dwel": "at_impression"},
        {"surface": "later"},
        ["surface"],
        {"surface": {"after_seconds": -1}},
        {"surface": {"after_seconds": float("nan")}},
    ):
        with pytest.raises(ConfigError, match="known"):
            replace(SPEC, known=known)  # type: ignore[arg-type]


def test_a_sequence_may_have_values_of_its_own() -> None:
    own = replace(SPEC, sequences=(SequenceColumn("marks", of=None, max_len=2),))
    written = yaml.safe_load(yaml.safe_dump(own.to_dict()))
    assert written["sequences"][0]["of"] is None and DatasetSpec.from_dict(written) == own
    for of in ("", 3, ["item_id"], {"item_id": 1}):
        written["sequences"][0]["of"] = of
        with pytest.raises(ConfigError, match="sequences: 'marks': of: .* is no categorical"):
            DatasetSpec.from_dict(written)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        replace(
            SPEC,
            dataset_id="Toy",
            time_unit="minutes",
            item_columns=("items_id",),
            periods=Periods.split(2, 1),
            columns=(Column("user_id"), Column("item_id", dtype="float")),
        )
    text = str(caught.value)
    for part in ("dataset_id", "time_unit", "did you mean 'item_id'", "at least 3", "dtype"):
        assert part in text


def test_unknown_and_missing_keys() -> None:
    value = SPEC.to_dict()
    value["perriod_rule"] = value.pop("period_rule")
    value["columns"][0]["veiws"] = []
    with pytest.raises(ConfigError) as caught:
        DatasetSpec.from_dict(value)
    assert "columns[0]: unknown key 'veiws' (did you mean 'views'?)" in str(caught.value)
    assert "unknown key 'perriod_rule' (did you mean 'period_rule'?)" in str(caught.value)
    assert "missing key 'period_rule'" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"user": "userid"},
        {"item": "nothing"},
        {"label": "price"},
        {"side_columns": ("age",)},
        {"item_columns": ("age",)},
        {"item_columns": ("price",)},
        {"protocol": "bars"},
        {"sequences": (SequenceColumn("seen", of="price", max_len=2),)},
        {"sequences": (SequenceColumn("seen", of="item_id", max_len=0),)},
        {"columns": (*SPEC.columns, Column("a.b"))},
        {"columns": (*SPEC.columns, Column("timestamp"))},
        {"columns": (*SPEC.columns, Column("group_id"))},
        {"side_columns": ("teacher_logit",)},
        {"label": "loopfm_label"},
        {"columns": (*SPEC.columns, Column("c", views=("vertical",)))},
    ],
)
def test_references_that_do_not_fit(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(SPEC, **changes)


def test_split() -> None:
    assert Periods.split(8, 4) == Periods(8, (1, 2, 3, 4), (5, 6, 7, 8), (5, 6, 7), (8,))
    assert Periods.split(8, 4).problems() == []


@pytest.mark.parametrize(
    "periods",
    [
        Periods.split(4, 3),
        Periods(4, (1, 2), (2, 3, 4), (2, 3), (4,)),
        Periods(4, (1,), (3, 4), (2, 3), (4,)),
        Periods(4, (1,), (2, 3, 4), (2, 4), (3,)),
        Periods(4, (1,), (2, 3, 4), (2, 3, 4), (4,)),
        Periods(4, (0, 1), (2, 3, 4), (2, 3), (4,)),
    ],
)
def test_periods_that_leak_or_lack(periods: Periods) -> None:
    assert periods.problems()


def test_every_attribute_of_a_module_dict_is_refused_as_a_feature() -> None:
    nn = pytest.importorskip("torch.nn")
    public = [name for name in dir(nn.ModuleDict()) if not name.startswith("_")]
    assert "type" in public
    accepted = [name for name in public if not name_problems("", name, module=True)]
    assert accepted == []
    assert name_problems("", "type") == []
