"""Pointers that a wrong writer sealed: only the causal rule tells, and its message names why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eight_events import build

from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.structuring.builder import build_pointers
from fuxictr_loopfm.structuring.verify_pointers import Samples, causal_problems, range_problems

# Store rows 1 to 4: a has events 5 (time 20) and 7 (30), b has events 4 (20) and 6 (30).
KEYS, TIMES = np.array(["a", "b", "a", "z"], object), np.array([30, 31, 31, 99])
SAMPLES = Samples(np.arange(4), np.arange(100, 104), KEYS, TIMES)
RULE = SequenceSpec(max_len=2)


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    build(tmp_path / "store")
    return EventStore.open(tmp_path / "store", codes=False)


def changed(store: EventStore, end: list[int], length: list[int]) -> Pointers:
    pointers = build_pointers(store, KEYS, TIMES, RULE)
    return replace(pointers, end=np.array(end, np.uint32), length=np.array(length, np.uint8))


def test_true_pointers_have_no_problems(store: EventStore) -> None:
    pointers = build_pointers(store, KEYS, TIMES, RULE)
    assert (pointers.end.tolist(), pointers.length.tolist()) == ([2, 5, 3, 0], [1, 2, 2, 0])
    assert range_problems(store, pointers) == causal_problems(store, pointers, SAMPLES) == []


@pytest.mark.parametrize(
    ("end", "length", "words"),
    [
        (
            [3, 5, 3, 0],
            [2, 2, 2, 0],
            "sample 100 (user a, time 30): reads event 7 at time 30, which is not before 30 - "
            "delay 0; rule: t_event < t - delay 0, newest 2; 1 of 4 samples disagree",
        ),
        (
            [2, 5, 3, 0],
            [1, 2, 1, 0],
            "sample 102 (user a, time 31): reads 1 events without event 5 at time 20, which is one "
            "of the newest 2",
        ),
        (
            [2, 5, 3, 5],
            [1, 2, 2, 1],
            "sample 103 (user z, time 99): reads event 6 at time 30, which is of user b",
        ),
        (
            [2, 6, 3, 0],
            [1, 2, 2, 0],
            "sample 101 (user b, time 31): reads row 5, outside of the store's rows 1 to 4",
        ),
    ],
)
def test_the_first_sample_that_breaks_the_rule_is_named_with_the_event(
    store: EventStore, end: list[int], length: list[int], words: str
) -> None:
    (problem,) = causal_problems(store, changed(store, end, length), SAMPLES)
    assert words in problem


def test_another_delay_or_window_than_stated(store: EventStore) -> None:
    made = build_pointers(store, KEYS, TIMES, RULE)
    for spec, words in (
        (replace(RULE, delay=5), "reads event 6 at time 30, which is not before 31 - delay 5"),
        (replace(RULE, window=5), "reads event 5 at time 20, which is before 30 - window 5"),
    ):
        problems = causal_problems(store, replace(made, spec=spec), SAMPLES)
        assert len(problems) == 1 and words in problems[0]


@pytest.mark.parametrize(
    ("end", "length", "named"),
    [
        ([2, 5, 4, 0], [1, 2, 2, 0], "pointer 2: expected at most 2 rows of one user"),
        ([2, 6, 3, 0], [1, 2, 2, 0], "found [4, 6); 1 of 4"),
        ([1, 5, 3, 0], [1, 2, 2, 0], "found [0, 1); 1 of 4"),
        ([2, 5, 3, 1], [1, 2, 2, 0], "pointer 3: expected"),
        ([2, 5, 4, 0], [1, 2, 3, 0], "found [1, 4); 1 of 4"),
        ([2, 5, 1, 0], [1, 2, 2, 0], "found [-1, 1); 1 of 4"),
    ],
)
def test_the_store_alone_tells_ranges_that_no_rule_gives(
    store: EventStore, end: list[int], length: list[int], named: str
) -> None:
    (problem,) = range_problems(store, changed(store, end, length))
    assert named in problem


def test_samples_that_are_events_of_the_store_need_no_log(store: EventStore) -> None:
    samples = Samples.of_store(store, range(5, 9))
    assert samples.event_id.tolist() == [5, 6, 7]
    assert samples.position.tolist() == [0, 1, 2]
    assert samples.key.tolist() == [b"a", b"b", b"a"] and samples.time.tolist() == [20, 30, 30]
