"""Which column a filter is on, and what that means for when its events are known."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.structuring.event_filter import filter_column, parse_filter


@pytest.mark.parametrize("label", ["click", "label"])
def test_label_stands_for_the_label_column_whatever_that_is_called(label: str) -> None:
    column, passes = parse_filter("label == 1", label)
    assert column == label
    assert passes(np.array([0, 1, 1])).tolist() == [False, True, True]


def test_the_label_columns_own_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected 'label' for the label column, found 'click'"):
        parse_filter("click == 1", "click")


BIG = 2**53


@pytest.mark.parametrize(
    ("text", "values", "passing"),
    [
        (f"x == {BIG + 1}", [BIG, BIG + 1, BIG + 2], [False, True, False]),
        (f"x >= {BIG + 1}", [BIG, BIG + 1], [False, True]),
        (f"x < {BIG + 1}", [BIG, BIG + 1], [True, False]),
        ("x >= 1.5", [1, 2], [False, True]),
        ("x > 1.5", [1, 2], [False, True]),
        ("x <= 1.5", [1, 2], [True, False]),
        ("x < 1.5", [1, 2], [True, False]),
        ("x == 1.5", [1, 2], [False, False]),
        ("x != 1.5", [1, 2], [True, True]),
        ("x < 1e99", [1, 2], [True, True]),
        ("x == true", [True, False], [True, False]),
        ("x == 0", [True, False], [False, True]),
        ("x >= 0.1", [0.1, 0.09], [True, False]),
        ("x >= 10", ["9", "10", "", "100.5"], [False, True, False, True]),
        ("x == 007", ["7", "007"], [False, True]),
    ],
)
def test_values_are_compared_exactly(text: str, values: list[object], passing: list[bool]) -> None:
    _, passes = parse_filter(text, "click")
    texts = isinstance(values[0], str)
    assert passes(np.array(values, dtype=object if texts else None)).tolist() == passing


def test_text_that_is_no_number_has_no_order() -> None:
    _, passes = parse_filter("x >= 10", "click")
    with pytest.raises(ConfigError, match="x is text: expected == or !=, found >="):
        passes(np.array(["9", "ten"], dtype=object))


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ("label == 1", True),
        ("  label==0", True),
        ("\tlabel != 1", True),
        ("label_source == app", False),
        ("labels > 3", False),
        ("watched == label", False),
    ],
)
def test_a_filter_waits_for_the_label_if_it_is_on_the_label(text: str, waits: bool) -> None:
    assert (filter_column(text) == "label") is waits
    keys = LoopFMKeys(event_filter=text, delay_seconds=2, label_delay_seconds=60)
    assert keys.sequence_spec("ms").delay == (60_000 if waits else 2_000)
