"""Column descriptions: everything wrong with a configuration is said at once."""

from __future__ import annotations

from typing import Any

import pytest

from fuxictr_loopfm.data.columns import ColumnPlan, active_columns
from fuxictr_loopfm.errors import ConfigError

LABEL = {"name": "click", "dtype": "float"}


def _problems(*columns: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        ColumnPlan.from_params({"dataset_id": "d", "feature_cols": columns, "label_col": LABEL})
    return error.value.problems


def _column(name: Any = "a", **changes: Any) -> dict[str, Any]:
    return {"name": name, "active": True, "dtype": "str", "type": "categorical", **changes}


def test_name_lists_are_expanded_and_inactive_columns_dropped() -> None:
    plan = ColumnPlan.from_params(
        {
            "feature_cols": [
                _column(("a", "b"), min_categr_count=3),
                _column("c", active=False),
                _column("h", type="loopfm_sequence", key="user"),
                _column("d"),
            ],
            "label_col": [LABEL, {"name": "soft", "dtype": "float"}],
        }
    )
    assert [(c["name"], c.get("min_categr_count")) for c in plan.encoded] == [
        ("a", 3),
        ("b", 3),
        ("d", None),
    ]
    assert plan.order == ("a", "b", "h", "d")
    assert plan.histories == (_column("h", type="loopfm_sequence", key="user"),)
    assert [c["name"] for c in plan.labels] == ["click", "soft"]


def test_features_by_name_type_and_history() -> None:
    plan = ColumnPlan.from_params(
        {
            "feature_cols": [
                _column(["bought", "seen"], type="loopfm_sequence"),
                _column(["user", "item"]),
                _column("old", active=False),
                _column("old_history", type="loopfm_sequence", key="item", active=False),
                _column("price", dtype="float", type="numeric"),
                _column("of_item", type="loopfm_sequence", key="item"),
                _column("clicked", type="sequence", share_embedding="item"),
            ],
            "label_col": LABEL,
        }
    )
    assert list(plan.types.items()) == [
        ("bought", "loopfm_sequence"),
        ("seen", "loopfm_sequence"),
        ("user", "categorical"),
        ("item", "categorical"),
        ("price", "numeric"),
        ("of_item", "loopfm_sequence"),
        ("clicked", "sequence"),
    ]
    assert plan.names() == ("user", "item", "price", "clicked")
    assert plan.names("categorical") == ("user", "item")
    assert plan.names("sequence", "numeric") == ("price", "clicked")
    assert plan.history_entities("user") == {"bought": "user", "seen": "user", "of_item": "item"}


def test_all_problems_are_reported_at_once() -> None:
    problems = _problems(
        _column("a", dtype="__import__('os')"),
        _column("b", type="embedding"),
        _column("c", type="numeric", dtype="float", normalizer="LogScaler"),
        _column("d", category_processor="hash_bucket"),
        _column("e", type="sequence", padding="left", max_len=-1),
        _column("f", remap=False),
        _column("click"),
    )
    expected = ["dtype", "type", "normalizer", "category_processor", "padding", "max_len", "remap"]
    assert [problem.split(": ")[3] for problem in problems[:-1]] == expected
    assert problems[-1] == "d: column click is described 2 times, expected once"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([_column("s", type="sequence", share_embedding="a"), _column("a")], "before s"),
        (
            [_column("a", dtype="int"), _column("s", type="sequence", share_embedding="a")],
            "dtype: expected 'int' as in 'a'",
        ),
    ],
)
def test_a_shared_vocabulary_must_exist_and_have_the_same_type(
    columns: list[dict[str, Any]], expected: str
) -> None:
    (problem,) = _problems(*columns)
    assert expected in problem


@pytest.mark.parametrize("value", [0, 1, "False", "true", None])
def test_active_is_true_or_false_and_nothing_else(value: Any) -> None:
    (problem,) = _problems(_column("a"), _column(["b", "c"], active=value))
    assert problem == f"d: feature_cols: b, c: active: expected true or false, found {value!r}" + (
        f"; in quotes it is a text, write {value.lower()} without them"
        if isinstance(value, str)
        else ""
    )
    with pytest.raises(ConfigError, match="feature_cols: b: active: expected true or false"):
        active_columns([_column("b", active=value)], "feature_cols")


@pytest.mark.parametrize("value", [None, [], "a", [{"dtype": "str"}]])
def test_feature_cols_must_be_columns(value: Any) -> None:
    with pytest.raises(ConfigError, match="d: feature_cols: expected a"):
        ColumnPlan.from_params({"dataset_id": "d", "feature_cols": value, "label_col": LABEL})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"min_categ_count": 2}, "min_categ_count: expected a key that FuxiCTR reads, found none"),
        (
            {"min_categr_count": "2"},
            "min_categr_count: expected 1 or more, found '2'; it is a text",
        ),
        ({"name": [False, "a"]}, "name: expected a text, found False; YAML reads NO, off"),
        ({"fill_na": False}, "fill_na: expected a text as in the column, found False; YAML reads"),
        ({"dtype": "int", "fill_na": "0"}, "fill_na: expected int as in the column, found '0'"),
        ({"type": "numeric"}, "dtype: expected int or float for numeric, found 'str'"),
        ({"type": "sequence", "dtype": "int"}, "dtype: expected str for sequence, found 'int'"),
        ({"type": "sequence", "splitter": 1}, "splitter: expected a text, found 1; YAML reads it"),
        ({"type": "sequence", "max_len": True}, "max_len: expected 0 or more, found True"),
        ({"freeze_emb": "False"}, "freeze_emb: expected true or false, found 'False'; in quotes"),
    ],
)
def test_keys_and_values_of_a_column_that_fuxictr_cannot_use(
    changes: dict[str, Any], expected: str
) -> None:
    (problem,) = _problems(_column(**changes))
    assert expected in problem
