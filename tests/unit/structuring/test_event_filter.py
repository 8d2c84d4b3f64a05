"""Which column a filter is on, and what that means for when its events are known."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.structuring.event_filter import parse_filter, reads_label


@pytest.mark.parametrize("label", ["click", "label"])
def test_label_stands_for_the_label_column_whatever_that_is_called(label: str) -> None:
    column, passes = parse_filter("label == 1", label)
    assert column == label
    assert passes(np.array([0, 1, 1])).tolist() == [False, True, True]


def test_the_label_columns_own_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected 'label' for the label column, found 'click'"):
        parse_filter("click == 1", "click")


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
    assert reads_label(text) is waits
    keys = LoopFMKeys(event_filter=text, delay_seconds=2, label_delay_seconds=60)
    assert keys.sequence_spec("ms").delay == (60_000 if waits else 2_000)
