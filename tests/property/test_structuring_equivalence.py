"""Fast sorting and pointers against the slow ones that are plainly right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from brute_join import scaled
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_loopfm.structuring import as_of, order
from fuxictr_loopfm.structuring.as_of import bounds_of_events, history_bounds
from fuxictr_loopfm.structuring.order import sort_order
from fuxictr_loopfm.structuring.sorted_events import event_order

INT64 = np.iinfo(np.int64)
KEY = st.one_of(st.integers(0, 5), st.integers(0, 1 << 22), st.integers(INT64.min, INT64.max))
TIME = st.one_of(
    st.integers(-3, 3),
    st.integers(0, 1 << 41),
    st.integers(INT64.min, INT64.max),
    st.sampled_from([INT64.min, INT64.max]),
)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    """Few events are many buckets, blocks and threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "_BUCKET_ROWS", 4)
        patch.setattr(order, "_FEW_PIECES", 1)
        patch.setattr(as_of, "_BLOCK", 3)
        yield


def int64(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


@settings(max_examples=scaled(300))
@given(st.lists(st.tuples(KEY, TIME), max_size=60))
def test_packed_and_bucketed_sorting_is_a_stable_lexsort(events: list[tuple[int, int]]) -> None:
    key, time = int64([key for key, _ in events]), int64([time for _, time in events])
    expected = np.lexsort((np.arange(len(key)), time, key))
    assert sort_order(key, time).tolist() == expected.tolist()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=40),
    st.randoms(use_true_random=False),
)
def test_ties_are_broken_by_the_log_in_whatever_order_events_come(
    events: list[tuple[int, int]], random: object
) -> None:
    rows = list(range(0, 3 * len(events), 3))
    random.shuffle(rows)  # type: ignore[attr-defined]
    key, time = int64([key for key, _ in events]), int64([time for _, time in events])
    found = event_order(key, time, int64(rows))
    assert found.tolist() == np.lexsort((int64(rows), time, key)).tolist()


@settings(max_examples=scaled(150))
@given(
    st.lists(st.tuples(st.integers(0, 4), TIME), max_size=40),
    st.integers(1, 5),
    st.one_of(st.integers(0, 4), st.sampled_from([1 << 40, INT64.max])),
    st.none() | st.integers(0, 6) | st.just(1 << 40),
)
def test_bounds_of_events_are_those_of_samples_with_their_keys_and_times(
    events: list[tuple[int, int]], max_len: int, delay: int, window: int | None
) -> None:
    events = sorted(events)
    key, time = int64([key for key, _ in events]), int64([time for _, time in events])
    rule = {"max_len": max_len, "delay": delay, "window": window}
    expected = [
        [row for row in range(len(events)) if _usable(events, row, sample, delay, window)]
        for sample in range(len(events))
    ]
    key_ptr = np.append(np.flatnonzero(np.diff(key, prepend=-1)), len(key))
    for end, length in (
        history_bounds(key, time, key, time, **rule),
        bounds_of_events(key_ptr, time, **rule),
    ):
        found = [list(range(e - n, e)) for e, n in zip(end.tolist(), length.tolist(), strict=True)]
        assert found == [rows[-max_len:] for rows in expected]


def _usable(
    events: list[tuple[int, int]], row: int, sample: int, delay: int, window: int | None
) -> bool:
    (key, time), (wanted, now) = events[row], events[sample]
    return key == wanted and time < now - delay and (window is None or now - window <= time)
