"""Any raw log, any rule, any way to the batch: histories equal a join done row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from brute_join import (
    DIM,
    FILTERS,
    FIRST,
    INT64,
    KEY_COLUMNS,
    Row,
    column,
    history_of,
    logs,
    rules,
    scaled,
    shorter,
    times,
)
from delivered import CODECS, WAYS, Built, assert_told, built, pieces, source_of, told
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.structuring.builder import build_pointers
from fuxictr_loopfm.structuring.pointing import pointers_of_events

TIME_UNITS = st.sampled_from(list(FIRST))


def array_of(keys: list[Any]) -> np.ndarray:
    return np.array(keys, object if any(isinstance(key, str) for key in keys) else np.int64)


@st.composite
def samples_of(draw: st.DrawFn, log: list[Row], key: str, rule: SequenceSpec, unit: str) -> Any:
    """(key, time) of events of the log, of moments just before and after them, and of strangers."""
    known = [getattr(row, key) for row in log] or [0]
    strangers = ["zz", "a\u0301", "abcdefgh"] if isinstance(known[0], str) else [77, -77, 1 << 50]
    moments = [row.time for row in log] or [FIRST[unit]]
    steps = [0, 0, 1, -1, 2, rule.delay, rule.delay + 1, rule.label_delay, rule.label_delay + 1]
    steps += [] if rule.window is None else [rule.window, rule.window + 1]
    near = st.builds(
        lambda moment, step: min(max(moment + step, INT64.min), INT64.max),
        st.sampled_from(moments),
        st.sampled_from(steps),
    )
    keys = st.one_of(st.sampled_from(known), st.sampled_from(known + strangers))
    return draw(st.lists(st.tuples(keys, near | draw(times(unit))), min_size=4, max_size=12))


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    unit, key = draw(TIME_UNITS), draw(st.sampled_from(KEY_COLUMNS))
    rule, log = draw(rules(unit)), draw(logs(unit))
    return {
        "log": log,
        "key": key,
        "time_unit": unit,
        "rule": rule,
        "event_filter": draw(st.sampled_from([None, None, None, *FILTERS])),
        "samples": draw(samples_of(log, key, rule, unit)),
        "kind": draw(st.sampled_from(list(CODECS))),
        "num_shards": draw(st.sampled_from([1, 1, 2, 3, 7])),
        "partition_rows": draw(st.none() | st.integers(1, 6)),
        "as_arrived": draw(st.booleans()),
        "small": draw(st.booleans()),
        "kept_len": draw(st.sampled_from([2, 300, 300, 300])),
        "dim": draw(st.sampled_from([1, 2, DIM])),
        "ways": draw(st.integers(0, 2)),
    }


@settings(max_examples=scaled(200))
@given(cases())
def test_a_batch_holds_what_the_brute_force_join_says(case: dict[str, Any]) -> None:
    log, key, rule = case["log"], case["key"], case["rule"]
    unit, event_filter, samples = case["time_unit"], case["event_filter"], case["samples"]
    delivered = shorter(rule, case["kept_len"])
    expected = [history_of(log, key, *sample, delivered, unit, event_filter) for sample in samples]
    # A key that fits into no partition can only be copied, and then must be in time order.
    as_arrived = case["as_arrived"] and case["partition_rows"] is None
    event(f"longest history: {min(max(map(len, expected), default=0), 5)}")
    event("out of core" if case["partition_rows"] else "in memory")
    with (
        pieces(case["small"]),
        built(
            log,
            key,
            unit,
            event_filter,
            kind=case["kind"],
            num_shards=case["num_shards"],
            partition_rows=case["partition_rows"],
            as_arrived=as_arrived,
        ) as one,
    ):
        moments = [time for _, time in samples]
        keys = array_of([each for each, _ in samples])
        pointers = build_pointers(one.store, keys, np.array(moments, np.int64), rule)
        asked = np.array([*range(len(samples))[::-1], *range(len(samples))[:2]], np.int64)
        for way in WAYS[case["ways"] :: 3]:
            source = source_of(
                one, pointers, moments, delivered, first_event=9, prefix_dim=case["dim"], **way
            )
            for found, sample in zip(told(source, asked + 9), asked.tolist(), strict=True):
                assert_told(found, expected[sample], one.codec, case["dim"])
        if case["small"]:
            check_events_as_samples(one, log, key, rule)


def check_events_as_samples(one: Built, log: list[Row], key: str, rule: SequenceSpec) -> None:
    """Events of the store that are samples themselves: the same pointers without a look-up."""
    rows = np.array(one.rows, np.int64)
    gap = next((each for each in range(len(rows)) if each not in one.kept), len(rows))
    for stop in {gap, len(rows)}:
        found = pointers_of_events(one.folder, slice(0, stop), rule)
        assert (found is None) == (stop > gap)
        if found is not None:
            keys, moments = column(log, key)[rows[:stop]], column(log, "time")[rows[:stop]]
            wanted = build_pointers(one.store, keys, moments, rule)
            assert found.end.tolist() == wanted.end.tolist()
            assert found.length.tolist() == wanted.length.tolist()


def histories(log: list[Row], key: str, samples: list[Any], rule: SequenceSpec, unit: str) -> Any:
    """Everything that is delivered for the samples, told by row contents, not row numbers."""
    with built(log, key, unit, None, kind="int8") as one:
        moments = [time for _, time in samples]
        keys = array_of([each for each, _ in samples])
        pointers = build_pointers(one.store, keys, np.array(moments, np.int64), rule)
        columns = ("embedding", "label", "log_age", "ids")
        source = source_of(one, pointers, moments, rule, columns=columns)
        return told(source, np.arange(len(samples)))


@st.composite
def pasts(draw: st.DrawFn) -> dict[str, Any]:
    unit, key = draw(TIME_UNITS), draw(st.sampled_from(KEY_COLUMNS))
    log, rule = draw(logs(unit, 20)), draw(rules(unit))
    moments = [row.time for row in log] or [FIRST[unit]]
    now = draw(st.sampled_from(moments))
    future = [replace(row, label=1 - row.label, score=row.score + 1) for row in draw(logs(unit, 9))]
    keys = [getattr(row, key) for row in log] or [0]
    future = [
        replace(row, time=max(row.time, now), **{key: draw(st.sampled_from(keys))})
        for row in future
    ]
    return {"log": log, "future": future, "now": now, "key": key, "rule": rule, "unit": unit}


@settings(max_examples=scaled(60))
@given(pasts())
def test_nothing_at_or_after_a_samples_time_changes_its_history(case: dict[str, Any]) -> None:
    log, now, key, unit = case["log"], case["now"], case["key"], case["unit"]
    # The past keeps its row numbers: what arrives later is put behind it.
    past = [row for row in log if row.time < now]
    first = [*past, *(row for row in log if row.time >= now)]
    keys = list(dict.fromkeys(getattr(row, key) for row in log)) or [0]
    samples = [(each, moment) for each in keys for moment in (now, *{row.time for row in past})]
    found = histories(first, key, samples, case["rule"], unit)
    assert found == histories([*past, *case["future"]], key, samples, case["rule"], unit)
    if past:
        assert found == histories(past, key, samples, case["rule"], unit)


CROWD = [Row(7, 7, 7, time, time % 2, True, 0, "") for time in (3, 1, 1, 0, 2, 1)]


@example(CROWD, 2)
@settings(max_examples=scaled(40))
@given(logs("s"), st.integers(1, 3))
def test_of_equal_times_the_last_to_arrive_are_the_newest(log: list[Row], max_len: int) -> None:
    """A cut inside a tie keeps the last rows of the raw log, in the order they came in."""
    rule = SequenceSpec(max_len=max_len)
    log = [replace(row, time=FIRST["s"] + row.time % 3, logged=True) for row in log]
    samples = [(row.user, FIRST["s"] + 9) for row in log]
    with built(log, "user", "s", None, as_arrived=True) as one:
        keys = array_of([each for each, _ in samples])
        moments = [time for _, time in samples]
        pointers = build_pointers(one.store, keys, np.array(moments, np.int64), rule)
        source = source_of(one, pointers, moments, rule, columns=("embedding", "label", "ids"))
        for found, sample in zip(told(source, np.arange(len(samples))), samples, strict=True):
            mine = [(row.time, n) for n, row in enumerate(log) if row.user == sample[0]]
            assert found[0] == [number for _, number in sorted(mine)][-max_len:]


def test_an_age_of_more_than_half_the_clock_is_an_age() -> None:
    """The difference of two int64 times need not fit into int64."""
    log = [Row(1, 0, 0, INT64.min, 1, True, 0, ""), Row(1, 0, 0, 0, 0, True, 0, "")]
    rule, samples = SequenceSpec(max_len=2, label_delay=int(INT64.max)), [(1, int(INT64.max))]
    with built(log, "user", "ordinal", None) as one:
        pointers = build_pointers(one.store, array_of([1]), np.array([INT64.max]), rule)
        for way in WAYS:
            (found,) = told(
                source_of(one, pointers, [INT64.max], rule, **way), np.zeros(1, np.int64)
            )
            assert_told(found, history_of(log, "user", *samples[0], rule), one.codec, DIM)
            assert found[1] == [2, 0]


def test_events_of_every_shard_are_samples_like_others() -> None:
    log = [Row(n * 7 % 8, 0, 0, n // 3, n % 2, True, 0, "") for n in range(64)]
    for small in (False, True):
        with pieces(small), built(log, "user", "ordinal", None, num_shards=5) as one:
            assert sum(shard.rows > 0 for shard in one.store.manifest.shards) > 2
            check_events_as_samples(one, log, "user", SequenceSpec(max_len=3))
