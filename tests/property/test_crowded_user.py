"""One user with very many events, among users with few and with none: a million when it is nightly.

The oracle scans the whole raw log in plain Python for each of some samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_join import scaled
from delivered import CODECS

from fuxictr_loopfm.data.history_source import HistorySource
from fuxictr_loopfm.layers.batch import HistoryBatch
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.structuring import reading
from fuxictr_loopfm.structuring.builder import build_pointers
from tests.made_up import store_fields
from tests.store_building import build_store

EVENTS = 50_000 if scaled(1) == 1 else 1_000_000
MINUTE = 60_000
RULE = SequenceSpec(max_len=200, delay=2 * MINUTE, window=90 * MINUTE, label_delay=10 * MINUTE)
CROWD, FEW = "e\u0301\U0001f600", "e\u0301"


def raw_log() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(key, time in ms, label); ties of about ten events, every thousandth is another user's."""
    random = np.random.default_rng(3)
    key = np.full(EVENTS, CROWD, object)
    key[::1000] = FEW
    time = 1_500_000_000_000 + np.sort(random.integers(0, EVENTS // 10, EVENTS)) * 1_000
    return key, time, random.integers(0, 2, EVENTS).astype(np.int8)


def by_hand(
    raw: list[tuple[str, int, int]], sample: tuple[str, int]
) -> tuple[list[int], list[int]]:
    """(rows, labels as delivered) of a sample's history."""
    key, now = sample
    assert RULE.window is not None
    usable = [
        (time, row)
        for row, (other, time, _) in enumerate(raw)
        if other == key and now - RULE.window <= time < now - RULE.delay
    ]
    rows = [row for _, row in sorted(usable)[-RULE.max_len :]]
    known = [now - raw[row][1] > RULE.label_delay for row in rows]
    return rows, [raw[row][2] + 1 if k else 0 for row, k in zip(rows, known, strict=True)]


@pytest.mark.parametrize("way", ["in memory", "as it arrived", "out of core"])
def test_a_crowded_users_histories_are_those_of_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(reading, "LEAST_LIMIT", 1)
    key, time, label = raw_log()
    events = np.arange(EVENTS)
    # Late arrivals: what is handed over need not be in time order, rows are numbered by time.
    handed = np.random.default_rng(4).permutation(EVENTS) if way == "as it arrived" else events
    codec = CODECS["int8"]
    columns: dict[str, Any] = {
        "key": key[handed],
        "timestamp": time[handed],
        "event_id": handed,
        "codes": np.ones((EVENTS, codec.width), np.int8),
        "logit": np.zeros(EVENTS, np.float32),
        "side": {"label": label[handed]},
        # A tenth of the crowded user's events fits: the key is a partition of its own, copied.
        "memory_limit": 12 * EVENTS if way == "out of core" else None,
    }
    build_store(
        tmp_path / "store",
        manifest_fields=store_fields(codec, key="user", time_unit="ms"),
        pad_code=codec.pad_code,
        num_shards=2,
        **columns,
    )
    store = EventStore.open(tmp_path / "store")
    places = np.random.default_rng(5).integers(0, EVENTS, 6)
    samples = [(str(key[place]), int(time[place])) for place in places]
    samples += [(FEW, int(time[-1])), (CROWD, int(time[-1]) + 1), (CROWD, int(time[0])), ("e", 0)]
    moments = np.array([now for _, now in samples])
    pointers = build_pointers(store, np.array([each for each, _ in samples], object), moments, RULE)
    source = HistorySource(
        store, pointers, codec, sample_time=moments, spec=RULE, columns=("label", "ids"),
        ids={"row": events + 1},
    )  # fmt: skip
    batch = source.batch(np.arange(len(samples)))
    assert isinstance(batch, HistoryBatch) and batch.label is not None
    lengths = batch.spans.length.tolist()
    found = [part.tolist() for part in (batch.ids["row"] - 1).split(lengths)]
    labels = [part.tolist() for part in batch.label.split(lengths)]
    raw = list(zip(key.tolist(), time.tolist(), label.tolist(), strict=True))
    expected = [by_hand(raw, sample) for sample in samples]
    assert list(zip(found, labels, strict=True)) == expected
    assert max(lengths) == RULE.max_len and min(lengths) == 0
