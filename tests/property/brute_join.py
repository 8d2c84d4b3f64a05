"""A raw log as it arrives, and its histories by the words of the rule: rows, loops, Python ints.

Nothing here sorts keys, packs numbers or knows a store. What a model should be given for a sample
is read off the log row by row, so that every shortcut of the package is compared with none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from fuxictr_loopfm.spec import UNITS_PER_SECOND, SequenceSpec

INT64 = np.iinfo(np.int64)
DIM = 3
KEY_COLUMNS = ("user", "item", "other")
# Alike to the eye, to a normaliser, to a cut or to a careless hash, and yet different keys.
TEXTS = (
    "", " ", "a", "ab", "abc", "b", "A", "0", "00", "-1", "\u00e9", "e\u0301", "e", "\u6728",
    "\U0001f600", "\U0001f600\ufe0f", "\u200d", "nan", "None", "a\n", "a\t",
)  # fmt: skip
FIRST = {"s": 1_500_000_000, "ms": 1_500_000_000_000, "us": 1_500_000_000_000_000, "ordinal": -5}
# Filter by its text, and by a function of a row.
FILTERS: dict[str | None, Any] = {
    None: lambda row: True,
    "label == 1": lambda row: row.label == 1,
    "label != 1": lambda row: row.label != 1,
    "score >= 3": lambda row: row.score >= 3,
    "score < 4": lambda row: row.score < 4,
    "kind == 'b'": lambda row: row.kind == "b",
    "kind != b": lambda row: row.kind != "b",
}


def scaled(examples: int) -> int:
    """Examples of a test that has so many in the tests' own profile, in the profile at hand."""
    return max(1, examples * settings.default.max_examples // 100)


@dataclass(frozen=True)
class Row:
    """An impression; ``logged`` is False for the periods that were not."""

    user: Any
    item: Any
    other: Any
    time: int
    label: int
    logged: bool
    score: int
    kind: str


@dataclass(frozen=True)
class Seen:
    """A past event as a model is given it."""

    row: int
    label: int
    log_age: float


def history_of(
    log: list[Row],
    key: str,
    sample_key: Any,
    now: int,
    rule: SequenceSpec,
    time_unit: str = "s",
    event_filter: str | None = None,
) -> list[Seen]:
    """What a sample may see, oldest first, and of what happens at one time the last to arrive."""
    usable = []
    for number, row in enumerate(log):
        if getattr(row, key) != sample_key or not row.logged or not FILTERS[event_filter](row):
            continue
        if not row.time < now - rule.delay:
            continue
        if rule.window is not None and not now - rule.window <= row.time:
            continue
        usable.append((row.time, number))
    return [
        _seen(log[number], number, now, rule, time_unit)
        for _, number in sorted(usable)[-rule.max_len :]
    ]


def _seen(row: Row, number: int, now: int, rule: SequenceSpec, time_unit: str) -> Seen:
    age = now - row.time
    label = row.label + 1 if age > rule.label_delay else 0
    return Seen(number, label, math.log1p(age / UNITS_PER_SECOND[time_unit]))


def in_time_order(log: list[Row]) -> list[int]:
    """The log's rows by time; what arrived first is first among equals."""
    return sorted(range(len(log)), key=lambda number: (log[number].time, number))


def column(log: list[Row], name: str) -> np.ndarray:
    """A column as numpy has it: int64, or Python text."""
    values = [getattr(row, name) for row in log]
    text = any(isinstance(value, str) for value in values)
    return np.array(values, object if text else np.int64)


def embedding_of(rows: Any) -> np.ndarray:
    """(n, DIM) float32 in [-1, 1], another vector for each of the first 2,000 rows of a log."""
    number = np.asarray(rows, np.int64)[:, None]
    return (((number * np.array([1, 37, 701]) + 11) % 2003) / 1001.5 - 1).astype(np.float32)


INT_KEYS = st.one_of(
    st.integers(-2, 3), st.sampled_from([INT64.min, INT64.min + 1, INT64.max, 1 << 40, -(1 << 40)])
)
TEXT_KEYS = st.one_of(
    st.sampled_from(TEXTS),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=4),
)
KEYS = st.sampled_from([INT_KEYS, TEXT_KEYS])


@st.composite
def times(draw: st.DrawFn, time_unit: str) -> st.SearchStrategy[int]:
    """Crowded, so that ties and edges are common; wide; or at the ends of the clock."""
    first, second = FIRST[time_unit], UNITS_PER_SECOND[time_unit]
    crowded = st.integers(first - 2, first + 10)
    coarse = st.integers(0, 12).map(lambda step: first + step * second)
    wide = st.integers(first - 3 * 10**8 * second, first + 10**8 * second)
    kinds = [crowded, coarse, st.one_of(crowded, coarse), wide]
    if time_unit == "ordinal":
        ends = st.sampled_from([INT64.min, INT64.min + 1, INT64.max - 1, INT64.max])
        kinds += [st.one_of(crowded, ends), st.integers(INT64.min, INT64.max)]
    return draw(st.sampled_from(kinds))


@st.composite
def logs(draw: st.DrawFn, time_unit: str, max_size: int = 40, min_size: int = 0) -> list[Row]:
    """Rows in the order of their arrival, which is not that of their times; some arrive twice.

    Keys and times are drawn by Hypothesis, rows are then dealt from them: long logs at little cost.
    """
    size = draw(st.integers(min_size, max_size))
    moments = draw(st.lists(draw(times(time_unit)), min_size=1, max_size=12))
    keys = {name: _pool(draw) for name in KEY_COLUMNS}
    logged = draw(st.sampled_from([[True], [True, True, True, False]]))
    deal = Random(draw(st.integers(0, 1 << 32)))
    found: list[Row] = []
    while len(found) < size:
        if found and deal.random() < 0.05:
            found.append(deal.choice(found))
            continue
        found.append(
            Row(
                time=deal.choice(moments),
                label=deal.randrange(2),
                logged=deal.choice(logged),
                score=deal.randrange(7),
                kind=deal.choice(("a", "b", "")),
                **{name: deal.choice(pool) for name, pool in keys.items()},
            )
        )
    return found


def _pool(draw: st.DrawFn) -> list[Any]:
    """A few keys, the first of which most events are likely to have."""
    strategy = draw(KEYS)
    pool = draw(st.lists(strategy, min_size=1, max_size=5, unique=True))
    return pool[:1] * draw(st.sampled_from([1, 8])) + pool[1:]


@st.composite
def rules(draw: st.DrawFn, time_unit: str) -> SequenceSpec:
    """Any delay, window, label delay and length; most leave something to see."""
    second = UNITS_PER_SECOND[time_unit]
    short = st.integers(0, 4) | st.integers(0, 4).map(lambda count: count * second)
    spans = st.sampled_from([short] * 7 + [st.sampled_from([1 << 40, INT64.max - 1])])
    delay = draw(st.one_of(st.just(0), short, draw(spans)))
    window = draw(st.sampled_from([None, None, 1, 5, 9, 9 * second, INT64.max - 1]))
    if window is not None:
        window = min(delay + window, int(INT64.max))
    label_delay = draw(st.one_of(st.just(0), draw(spans)))
    max_len = draw(st.sampled_from([1, 2, 3, 5, 40, 300]))
    return SequenceSpec(max_len=max_len, delay=delay, window=window, label_delay=label_delay)


def shorter(rule: SequenceSpec, max_len: int) -> SequenceSpec:
    """The same rule with at most ``max_len`` events."""
    return replace(rule, max_len=min(rule.max_len, max_len))
