"""From a prepared data set on disk to batches, under an experiment's own keys: what a run reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from brute_join import (
    FILTERS,
    KEY_COLUMNS,
    Row,
    column,
    history_of,
    in_time_order,
    logs,
    scaled,
)
from delivered import IN_MEMORY, pieces
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.data.history_source import DELIVERIES, HistorySource
from fuxictr_loopfm.layers.batch import PaddedHistory
from fuxictr_loopfm.pipeline.history_workspace import HistoryWorkspace
from fuxictr_loopfm.pipeline.structuring_pass import StructuringPass
from fuxictr_loopfm.pipeline.teacher_workspace import TeacherWorkspace
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import (
    Column,
    DatasetSpec,
    Periods,
    PreparedDataset,
    write_prepared,
)
from fuxictr_loopfm.spec import UNITS_PER_SECOND, SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore

PERIODS = Periods.split(4, teacher=1)
COLUMNS = ("label", "log_age", "ids")
OUTCOMES = ("score", "kind", "label_2")
SECONDS = {"s": [0, 1, 3], "ordinal": [0, 1, 3], "ms": [0, 0.002, 1, 3], "us": [0, 3e-06, 1, 2]}


@dataclass(frozen=True)
class Case:
    """A raw log, and an experiment's keys."""

    log: list[Row]
    time_unit: str
    key: str
    label: str
    keys: LoopFMKeys
    memory_limit: int | None
    known: Mapping[str, Any] | None = None


def with_periods(log: list[Row], backfill: bool) -> list[Row]:
    """The log cut into periods of equal size, both labels in each, and which rows are logged."""
    found = list(log)
    for place, number in enumerate(in_time_order(log)):
        period = place * PERIODS.count // len(log) + 1
        label = log[number].label if place % 3 else place // 3 % 2
        found[number] = replace(log[number], label=label, logged=backfill or period in PERIODS.log)
    return found


@st.composite
def cases(draw: st.DrawFn) -> Case:
    unit, backfill = draw(st.sampled_from(list(SECONDS))), draw(st.booleans())
    log = draw(logs(unit, min_size=28))
    spans = st.sampled_from(SECONDS[unit])
    delay, label_delay = draw(spans), draw(spans)
    known_after, longest = draw(spans), SECONDS[unit][-1]
    rules = st.sampled_from(["at_impression", "after_label_delay", {"after_seconds": known_after}])
    known = draw(st.none() | st.fixed_dictionaries({}, optional=dict.fromkeys(OUTCOMES, rules)))
    window = draw(st.sampled_from([None, None, 1, 5, 10**6]))
    keys = LoopFMKeys(
        max_len=draw(st.sampled_from([1, 3, 300])),
        delay_seconds=delay,
        label_delay_seconds=label_delay,
        window_seconds=None if window is None else longest + window,
        event_filter=draw(st.sampled_from([*FILTERS, " label == 1", "label_2 == 1"])),
        num_shards=draw(st.sampled_from([1, 2, 5])),
        backfill=backfill,
    )
    limit = draw(st.none() | st.integers(9_000, 16_000))
    key, label = draw(st.sampled_from(KEY_COLUMNS)), draw(st.sampled_from(["click", "label"]))
    return Case(with_periods(log, backfill), unit, key, label, keys, limit, known)


def prepared_from(folder: Path, case: Case) -> PreparedDataset:
    """The log in time order as every data_prep script writes it."""
    order = in_time_order(case.log)
    rows = [case.log[number] for number in order]
    spec = DatasetSpec(
        dataset_id="Random_s1",
        label=case.label,
        user="user",
        item="item",
        time_unit=case.time_unit,
        columns=(Column("hour"),),
        side_columns=(*KEY_COLUMNS, *OUTCOMES),
        periods=PERIODS,
        period_rule="equal chunks",
        source="made up",
        known=case.known,
    )
    frame = pd.DataFrame(
        {
            "timestamp": [row.time for row in rows],
            "period": np.arange(len(rows)) * PERIODS.count // len(rows) + 1,
            case.label: [row.label for row in rows],
            "hour": [f"h{row.score}" for row in rows],
            "score": [row.score for row in rows],
            "kind": [row.kind for row in rows],
            "label_2": [row.score % 2 for row in rows],
            **{name: column(rows, name) for name in KEY_COLUMNS},
        }
    )
    return write_prepared(folder, spec, frame)


def rule_in_words(case: Case) -> tuple[SequenceSpec, str | None]:
    """The keys as the glossary has them, in whole units of the clock, and the oracle's filter."""
    keys, unit = case.keys, UNITS_PER_SECOND[case.time_unit]
    seconds = [keys.delay_seconds, keys.label_delay_seconds, keys.window_seconds]
    units = [None if s is None else Fraction(str(s)) * unit for s in seconds]
    assert all(each is None or each.denominator == 1 for each in units)
    delay, label_delay, window = (None if each is None else int(each) for each in units)
    assert delay is not None and label_delay is not None
    event_filter = None if keys.event_filter is None else keys.event_filter.strip()
    if event_filter in ("label == 1", "label != 1"):
        delay = max(delay, label_delay)  # whether it passes is known no sooner
    elif event_filter is not None and case.known is not None:
        when = case.known.get(event_filter.split()[0], "after_label_delay")
        if when == "after_label_delay":
            delay = max(delay, label_delay)
        elif when != "at_impression":
            delay = max(delay, int(Fraction(str(when["after_seconds"])) * unit))
    return SequenceSpec(keys.max_len, delay, window, label_delay), event_filter


@contextmanager
def workspace_of(case: Case, folder: Path) -> Iterator[Workspace]:
    """The workspace of an experiment with these keys, which has a log and nothing else."""
    params = {"data_root": str(folder), "model_id": "random"}
    workspace = Workspace(SimpleNamespace(keys=case.keys, params=params), None)  # type: ignore[arg-type]
    workspace.__dict__["prepared"] = prepared_from(folder / "prepared", case)
    yield workspace


def told(case: Case, folder: Path, **engine: Any) -> dict[int, list[list[tuple[int, int, float]]]]:
    """(row of the log, label, log_age) of every past event, by sample, once per delivery."""
    with workspace_of(case, folder) as workspace:
        stage = StructuringPass(
            case.keys, workspace.prepared, case.key, None, workspace.artifact_root
        )
        store = EventStore.open(stage.build(**engine))
        return told_of(case, workspace, store, (PERIODS.vertical_train, PERIODS.test))


def told_to_a_teacher(case: Case, folder: Path) -> dict[int, Any]:
    """The same of the samples that a teacher learns and of those that it logs."""
    prepared = prepared_from(folder / "prepared", case)
    experiment: Any = SimpleNamespace(keys=case.keys, params={}, zoos=(), where="random")
    splits = {
        "train": prepared.rows_of(PERIODS.teacher_train),
        "log": prepared.rows_of(PERIODS.log),
    }
    view: Any = SimpleNamespace(rows=lambda split: splits[split])
    workspace = TeacherWorkspace(experiment, prepared, view, folder / "artifacts", None)
    store = workspace.store(case.key)
    for split in splits:
        assert len(workspace.pointers(store, case.key, split)) > 0
    return told_of(case, workspace, store, (PERIODS.teacher_train, PERIODS.log))


def told_of(
    case: Case, workspace: HistoryWorkspace, store: EventStore, samples: Sequence[tuple[int, ...]]
) -> dict[int, list[list[tuple[int, int, float]]]]:
    """The past events of the samples of some periods."""
    found: dict[int, list[list[tuple[int, int, float]]]] = {}
    order, prepared = np.array(in_time_order(case.log), np.int64), workspace.prepared
    rule = case.keys.sequence_spec(case.time_unit, prepared.spec.known_columns)
    for number, periods in enumerate(samples):
        rows = prepared.rows_of(periods)
        pointers = workspace.pointers_into(store.folder, case.key, rows, f"split{number}")
        for delivery in DELIVERIES:
            source = HistorySource(
                store, pointers, None, sample_time=prepared.timestamp[rows], spec=rule,
                columns=COLUMNS, ids={"row": order + 1}, first_event=rows.start,
                delivery=delivery,
            )  # fmt: skip
            events = np.arange(rows.start, rows.stop)
            batch = source.batch(events)
            batch = batch.ragged() if isinstance(batch, PaddedHistory) else batch
            assert batch.label is not None and batch.log_age is not None
            lengths = batch.spans.length.tolist()
            parts = [
                batch.spans.pairs(each).split(lengths)
                for each in (batch.ids["row"] - 1, batch.label, batch.log_age)
            ]
            for event, *seen in zip(events.tolist(), *parts, strict=True):
                told_once = list(zip(*(each.tolist() for each in seen), strict=True))
                found.setdefault(int(order[event]), []).append(told_once)
    return found


def assert_equals_the_join(case: Case, found: dict[int, Any]) -> int:
    """Compare with the oracle; the number of past events."""
    rule, event_filter = rule_in_words(case)
    total = 0
    for number, deliveries in found.items():
        sample = case.log[number]
        expected = history_of(
            case.log, case.key, getattr(sample, case.key), sample.time, rule, case.time_unit,
            event_filter,
        )  # fmt: skip
        total += len(expected)
        for each in deliveries:
            assert [(row, label) for row, label, _ in each] == [(s.row, s.label) for s in expected]
            ages = [age for _, _, age in each]
            np.testing.assert_allclose(ages, [s.log_age for s in expected], rtol=1e-6)
    return total


def passes_any(case: Case) -> bool:
    event_filter = rule_in_words(case)[1]
    return any(row.logged and FILTERS[event_filter](row) for row in case.log)


@pytest.fixture(autouse=True, scope="module")
def second_label() -> Iterator[None]:
    """A column whose name only begins like the label's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FILTERS, "label_2 == 1", lambda row: row.score % 2 == 1)
        yield


@settings(max_examples=scaled(25))
@given(cases())
def test_what_a_run_reads_equals_the_join(case: Case) -> None:
    assume(passes_any(case))
    with pieces(False), tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        found = told(case, Path(folder), memory_limit=case.memory_limit)
    assert len(found) > len(case.log) // 2
    assert_equals_the_join(case, found)


@settings(max_examples=scaled(25))
@given(cases())
def test_what_a_teacher_reads_equals_the_join_over_all_periods(case: Case) -> None:
    every = replace(case, log=with_periods(case.log, True))
    assume(passes_any(every))
    with pieces(False), tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        found = told_to_a_teacher(every, Path(folder))
    assert len(found) == len(case.log)
    assert_equals_the_join(every, found)


def test_worker_processes_build_the_same_histories(tmp_path: Path) -> None:
    keys = LoopFMKeys(max_len=4, event_filter="label == 1", label_delay_seconds=3, num_shards=3)
    random = np.random.default_rng(11)
    users = ["", "e\u0301", "\u00e9", "a", "ab", "\U0001f600"]
    log = [
        Row(users[user], int(item), -int(user), 1_500_000_000 + int(step), int(label), True, 0, "")
        for user, item, step, label in zip(
            *(random.integers(0, high, 400) for high in (6, 5, 40, 2)), strict=True
        )
    ]
    case = Case(with_periods(log, False), "s", "user", "label", keys, None)
    # Two processes take seconds to start, and their bytes are compared by another test in CI.
    found = told(case, tmp_path, workers=1 if scaled(1) == 1 else 2, memory_limit=256 << 20)
    assert assert_equals_the_join(case, found) > 300


def test_the_shuffled_control_reads_the_histories_of_other_users(tmp_path: Path) -> None:
    random = np.random.default_rng(12)
    users = random.integers(0, 20, 600)
    log = [
        Row(f"u{user}", 0, 0, 1_500_000_000 + step // 3, step % 2, True, 0, "")
        for step, user in enumerate(users.tolist())
    ]
    keys = LoopFMKeys(max_len=300, control="shuffled_users")
    case = Case(with_periods(log, False), "s", "user", "click", keys, None)
    read = 0
    for number, deliveries in told(case, tmp_path).items():
        sample, rows = log[number], [row for row, _, _ in deliveries[0]]
        own = [e for e in case.log if e.logged and e.user == sample.user and e.time < sample.time]
        # As many events as the sample's own history has, all of one other user; else none.
        assert len(rows) in (0, len(own))
        assert len({log[row].user for row in rows} | {sample.user}) == 1 + (len(rows) > 0)
        assert all(log[row].time < sample.time for row in rows)
        read += len(rows) > 0
    assert read > 100, "nearly every sample finds another user with as many events"
