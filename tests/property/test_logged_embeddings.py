"""Each past event has the embedding that was logged for it, whatever the parts and blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brute_join import DIM, FILTERS, Row, embedding_of, in_time_order
from delivered import CODECS, pieces
from test_prepared_logs import PERIODS, Case, prepared_from, with_periods

from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.pipeline.logged_events import LoggedEvents, count_events
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog, ExtractionManifest
from fuxictr_loopfm.structuring.shards import StorePlan, build_shards, finish_store
from tests.made_up import store_fields

FIRST_LOGGED, EVENTS = 60, 240


def late_log() -> list[Row]:
    """In the order of arrival, with ties."""
    random = np.random.default_rng(21)
    return [
        Row(f"u{user}", 0, 0, 1_500_000_000 + int(step), number % 2, True, int(score), "a")
        for number, (user, step, score) in enumerate(
            zip(*(random.integers(0, high, EVENTS) for high in (9, 50, 7)), strict=True)
        )
    ]


def extraction_of(folder: Path, rows: np.ndarray) -> Path:
    """A log whose embedding and logit say which row of the raw log an event was."""
    parts = []
    for number, start in enumerate(range(FIRST_LOGGED, EVENTS, 47)):
        events = np.arange(start, min(start + 47, EVENTS))
        vectors, logit = embedding_of(rows[events]), rows[events] / 7
        parts.append(ExtractionLog.write_part(folder, f"p-{number}", events, vectors, logit, {}))
    manifest = ExtractionManifest(
        dim=DIM,
        taps=["hidden_0"],
        teacher_fingerprint="a" * 16,
        compressor_fingerprint="b" * 16,
        teacher_train_periods=[1],
        logged_periods=[2, 3, 4],
        parts=tuple(parts),
    )
    ExtractionLog.write_manifest(folder, manifest)
    return folder


@pytest.mark.parametrize("memory_limit", [None, 12_000])
@pytest.mark.parametrize("event_filter", [None, "score >= 3"])
def test_every_stored_event_has_its_own_embedding(
    tmp_path: Path, memory_limit: int | None, event_filter: str | None
) -> None:
    log = with_periods(late_log(), False)
    prepared = prepared_from(
        tmp_path / "prepared", Case(log, "s", "user", "click", LoopFMKeys(), None)
    )
    rows, codec = np.array(in_time_order(log)), CODECS["f32"]
    (tmp_path / "log").mkdir()
    source = LoggedEvents(
        prepared.folder, "click", "user", PERIODS.log, event_filter,
        extraction_of(tmp_path / "log", rows), codec.to_dict(),
    )  # fmt: skip
    source = LoggedEvents(**{**vars(source), "num_events": count_events(source)[0]})
    plan = StorePlan(store_fields(codec, key="user", time_unit="s"), codec.pad_code, 2)
    with pieces(False):
        build_shards(tmp_path / "parts", source, plan, range(2), memory_limit)
    finish_store(tmp_path / "store", tmp_path / "parts", 2)
    store = EventStore.open(tmp_path / "store")
    raw = rows[store.event_id[1:]]
    expected = {n for n, row in enumerate(log) if row.logged and FILTERS[event_filter](row)}
    assert sorted(raw.tolist()) == sorted(expected) and len(expected) > 80
    np.testing.assert_array_equal(store.codes[1:], embedding_of(raw))
    np.testing.assert_array_equal(store.logit[1:], (raw / 7).astype(np.float32))
    assert store.side["label"][1:].tolist() == [log[row].label for row in raw]
    assert store.timestamp[1:].tolist() == [log[row].time for row in raw]
