"""The causal rule on small logs computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_loopfm.errors import CausalityError, ConfigError
from fuxictr_loopfm.structuring.as_of import history_bounds, sort_order

INT64 = np.iinfo(np.int64)

# Key 3 has rows 0-5, key 7 rows 6-7.
KEYS = np.array([3, 3, 3, 3, 3, 3, 7, 7])
TIMES = np.array([10, 20, 20, 30, 30, 40, 5, 20])


def bounds(key: int, time: int, **parameters: int | None) -> tuple[int, int]:
    end, length = history_bounds(
        KEYS, TIMES, np.array([key]), np.array([time]), **{"max_len": 50, **parameters}
    )
    return int(end[0]), int(length[0])


@pytest.mark.parametrize(
    ("key", "time", "expected"),
    [
        (3, 10, (0, 0)),  # a tie with the first event is not its history
        (3, 11, (1, 1)),
        (3, 20, (1, 1)),  # both events at 20 are out
        (3, 30, (3, 3)),
        (3, 41, (6, 6)),
        (3, 10**15, (6, 6)),
        (7, 5, (0, 0)),
        (7, 20, (7, 1)),
        (7, 21, (8, 2)),
        (5, 100, (0, 0)),  # unknown keys, between, below and above
        (-1, 100, (0, 0)),
        (9, 100, (0, 0)),
    ],
)
def test_only_strictly_earlier_events_of_the_same_key(key, time, expected):
    assert bounds(key, time) == expected


def test_the_newest_events_are_kept_and_a_cut_may_fall_inside_a_tie():
    assert bounds(3, 30, max_len=2) == (3, 2)
    assert bounds(3, 30, max_len=1) == (3, 1)
    assert bounds(3, 40, max_len=1) == (5, 1)


def test_delay_is_strict_on_the_right():
    assert bounds(3, 30, delay=10) == (1, 1)  # 20 < 30 - 10 is false
    assert bounds(3, 31, delay=10) == (3, 3)


def test_window_is_inclusive_on_the_left():
    assert bounds(3, 40, window=20) == (5, 4)  # 20 >= 40 - 20
    assert bounds(3, 41, window=20) == (6, 3)
    assert bounds(3, 40, window=20, delay=10) == (3, 2)
    assert bounds(3, 40, window=5) == (0, 0)
    assert bounds(3, 40, window=5, delay=20) == (0, 0)


def test_int64_extremes_do_not_wrap_around():
    keys = np.array([0, 0, 0, 0])
    times = np.array([INT64.min, -1, 1, INT64.max])
    sample_time = np.array([INT64.min, INT64.min + 1, 0, INT64.max])
    zero = np.zeros(4, np.int64)
    end, length = history_bounds(keys, times, zero, sample_time, max_len=9)
    assert end.tolist() == [0, 1, 2, 3] and length.tolist() == [0, 1, 2, 3]
    end, length = history_bounds(keys, times, zero, sample_time, max_len=9, delay=INT64.max)
    assert length.tolist() == [0, 0, 1, 2]  # 0 - max = min + 1 and max - max = 0
    end, length = history_bounds(keys, times, zero, sample_time, max_len=9, window=INT64.max)
    assert length.tolist() == [0, 1, 1, 1]
    assert end.tolist() == [0, 1, 2, 3]


def test_huge_keys_and_a_time_range_that_needs_ranks():
    keys = np.array([INT64.min, INT64.min, 0, INT64.max])
    times = np.array([INT64.min, INT64.max - 1, 7, -7])
    end, length = history_bounds(
        keys,
        times,
        np.array([INT64.min, INT64.max, 0, 1]),
        np.array([INT64.max, 0, 7, 8]),
        max_len=5,
    )
    assert end.tolist() == [2, 4, 0, 0] and length.tolist() == [2, 1, 0, 0]


def test_a_short_span_at_the_end_of_int64():
    times = np.array([INT64.max - 1, INT64.max, INT64.max])
    end, length = history_bounds(
        np.zeros(3, np.int64), times, np.zeros(3, np.int64), times, max_len=5
    )
    assert end.tolist() == [0, 1, 1] and length.tolist() == [0, 1, 1]


def test_no_events_and_no_samples():
    none = np.empty(0, np.int64)
    end, length = history_bounds(none, none, np.array([1, 2]), np.array([1, 2]), max_len=3)
    assert end.tolist() == [0, 0] and length.tolist() == [0, 0]
    end, length = history_bounds(KEYS, TIMES, none, none, max_len=3)
    assert end.shape == length.shape == (0,)


@pytest.mark.parametrize(
    ("keys", "times", "row"),
    [([1, 0], [0, 0], 1), ([0, 0, 0], [5, 7, 6], 2), ([INT64.max, INT64.min], [0, 0], 1)],
)
def test_unsorted_events_are_refused_and_the_row_is_named(keys, times, row):
    with pytest.raises(CausalityError, match=rf"row {row} has \(key {keys[row]}"):
        history_bounds(np.array(keys), np.array(times), np.array([0]), np.array([9]), max_len=1)


def test_all_bad_parameters_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        bounds(3, 30, max_len=0, delay=-1, window=-2)
    assert len(caught.value.problems) == 3


def test_sort_order_is_stable_inside_ties_and_exact_at_the_extremes():
    key = np.array([1, 0, 1, 0, 1])
    time = np.array([5, 9, 5, 9, 4])
    assert sort_order(key, time).tolist() == [1, 3, 4, 0, 2]
    time = np.array([INT64.max, INT64.max, INT64.min, INT64.min, INT64.max])
    assert sort_order(key, time).tolist() == [3, 1, 2, 0, 4]


def test_sort_order_keeps_long_ties_in_row_order():
    rng = np.random.default_rng(1)
    key, time = rng.integers(0, 3, 5000), rng.integers(0, 4, 5000)
    assert sort_order(key, time).tolist() == np.lexsort((np.arange(5000), time, key)).tolist()
