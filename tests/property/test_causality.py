"""The bounds of histories against the rule in its own words, over all of int64."""

from __future__ import annotations

from typing import Any

import numpy as np
from brute_join import scaled
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_loopfm.structuring.as_of import history_bounds

INT64 = np.iinfo(np.int64)
SMALL_TIME = st.integers(-6, 12)
ANY_TIME = st.one_of(
    SMALL_TIME,
    st.integers(INT64.min, INT64.max),
    st.sampled_from([INT64.min, INT64.min + 1, INT64.max - 1, INT64.max]),
)
INT_KEY = st.one_of(
    st.integers(-2, 4),
    st.sampled_from([INT64.min, INT64.max, INT64.max - 1, 1 << 40]),
)
SPAN = st.one_of(st.integers(0, 8), st.sampled_from([1 << 40, INT64.max]))


def brute_force(
    events: list[tuple[Any, int]],
    sample: tuple[Any, int],
    max_len: int,
    delay: int,
    window: int | None,
) -> list[int]:
    """Row numbers of a sample's history, oldest first, by the words of the rule."""
    key, time = sample
    usable = []
    for row, (event_key, event_time) in enumerate(events):
        if event_key != key or not event_time < time - delay:
            continue
        if window is not None and not time - window <= event_time:
            continue
        usable.append((event_time, row))
    return [row for _, row in sorted(usable)][-max_len:]


def pairs(key: st.SearchStrategy[Any], time: st.SearchStrategy[int], max_size: int) -> Any:
    return st.lists(st.tuples(key, time), max_size=max_size)


def int64(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


@settings(max_examples=scaled(250))
@given(
    events=pairs(INT_KEY, ANY_TIME, 25),
    samples=pairs(INT_KEY, ANY_TIME, 12),
    max_len=st.integers(1, 6),
    delay=SPAN,
    window=st.none() | SPAN,
)
def test_bounds_equal_the_brute_force_rule(events, samples, max_len, delay, window):
    events = sorted(events)
    end, length = history_bounds(
        int64([key for key, _ in events]),
        int64([time for _, time in events]),
        int64([key for key, _ in samples]),
        int64([time for _, time in samples]),
        max_len=max_len,
        delay=delay,
        window=window,
    )
    for sample, stop, count in zip(samples, end.tolist(), length.tolist(), strict=True):
        expected = brute_force(events, sample, max_len, delay, window)
        assert list(range(stop - count, stop)) == expected
        assert count > 0 or stop == 0
