"""Histories against a double loop over the log, from raw keys to gathered rows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from brute_join import scaled
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_loopfm.compression.quantizer import build_codec
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.gather import history_index, take_rows
from fuxictr_loopfm.structuring.as_of import history_bounds
from fuxictr_loopfm.structuring.builder import build_pointers
from tests.made_up import store_fields
from tests.store_building import build_store

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
STRING_KEY = st.text(st.sampled_from("abé木"), max_size=2)
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


def histories(
    events: list[tuple[Any, int]],
    samples: list[tuple[Any, int]],
    spec: SequenceSpec,
    num_shards: int,
) -> list[list[int]]:
    """Log rows per sample, through a store on disk and the batch gather."""
    text = any(isinstance(key, str) for key, _ in events + samples)
    dtype = object if text else np.int64
    rows = np.arange(len(events))
    with tempfile.TemporaryDirectory() as folder:
        build_store(
            Path(folder) / "store",
            manifest_fields=MANIFEST_FIELDS,
            key=np.array([key for key, _ in events], dtype),
            timestamp=int64([time for _, time in events]),
            event_id=rows,
            codes=(rows[:, None] + 1).astype(np.float32),
            pad_code=np.zeros(1, np.float32),
            logit=rows.astype(np.float32),
            side={"label": (rows % 2).astype(np.int8)},
            num_shards=num_shards,
        )
        store = EventStore.open(Path(folder) / "store")
    pointers = build_pointers(
        store,
        np.array([key for key, _ in samples], dtype),
        int64([time for _, time in samples]),
        spec,
    )
    index, mask = history_index(pointers.end, pointers.length, spec.max_len)
    gathered = take_rows(store.codes, index)[..., 0].astype(int) - 1
    assert (gathered[~mask] == -1).all()
    assert (take_rows(store.event_id, index) == gathered).all()
    return [row[valid].tolist() for row, valid in zip(gathered, mask, strict=True)]


MANIFEST_FIELDS = store_fields(build_codec("f32", 1), time_unit="ordinal")


@settings(max_examples=scaled(30))
@given(
    data=st.one_of(
        *(
            st.tuples(pairs(key, time, 20), pairs(key, time, 8))
            for key, time in ((INT_KEY, SMALL_TIME), (INT_KEY, ANY_TIME), (STRING_KEY, SMALL_TIME))
        )
    ),
    max_len=st.integers(1, 5),
    delay=st.integers(0, 5),
    window=st.none() | st.integers(6, 12),
    num_shards=st.integers(1, 4),
)
def test_a_store_gathers_the_brute_force_history(data, max_len, delay, window, num_shards):
    events, samples = data
    spec = SequenceSpec(max_len=max_len, delay=delay, window=window)
    expected = [brute_force(events, sample, max_len, delay, window) for sample in samples]
    assert histories(events, samples, spec, num_shards) == expected


@settings(max_examples=scaled(20))
@given(
    events=pairs(st.integers(0, 2), SMALL_TIME, 20),
    future=pairs(st.integers(0, 2), st.integers(13, 40), 10),
    samples=pairs(st.integers(0, 2), SMALL_TIME, 8),
)
def test_the_future_never_changes_a_history(events, future, samples):
    spec = SequenceSpec(max_len=4)
    assert histories(events, samples, spec, 2) == histories(events + future, samples, spec, 2)
