"""The package's way from a raw log to batches of histories, told row by row for comparison."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_join import DIM, Row, Seen, column, embedding_of, in_time_order

from fuxictr_loopfm.compression.codec import Codec
from fuxictr_loopfm.compression.quantizer import build_codec
from fuxictr_loopfm.data.history_source import DELIVERIES, HistorySource
from fuxictr_loopfm.layers.batch import HistoryBatch, PackedEmbedding, PaddedHistory
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.structuring import as_of, key_table, order, pointing, reading, sorted_events
from fuxictr_loopfm.structuring.event_filter import parse_filter
from tests.made_up import store_fields
from tests.store_building import build_store

CODECS: dict[str, Codec] = {
    kind: build_codec(kind, DIM).fit(embedding_of(range(2_000)))
    for kind in ("f32", "f16", "int8", "int4_uniform", "int4_kmeans", "int4_kmeans_pair")
}
# Thousands of small stores are flushed; there that costs nothing.
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
# With an age no rows can be shared; without it they are, where the label needs none either.
COLUMN_SETS = (("embedding", "label", "log_age", "ids"), ("embedding", "label", "ids"))
WAYS: list[dict[str, Any]] = [
    {"delivery": delivery, "columns": columns, "share": share}
    for columns, share, delivery in itertools.product(COLUMN_SETS, (False, True), DELIVERIES)
]
_SMALL: tuple[tuple[Any, str, int], ...] = (
    (order, "_BUCKET_ROWS", 4),
    (order, "_FEW_PIECES", 1),
    (as_of, "_BLOCK", 3),
    (pointing, "_RANGE_ROWS", 3),
    (sorted_events, "_PIECE_ROWS", 4),
    (key_table, "_FEW_KEYS", 3),
)


@contextmanager
def pieces(small: bool) -> Iterator[None]:
    """Any memory limit is allowed; with ``small`` a few events are many blocks and threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "LEAST_LIMIT", 1)
        for module, name, value in _SMALL if small else ():
            patch.setattr(module, name, value)
        yield


@dataclass(frozen=True)
class Built:
    """A store of a raw log's events.

    Attributes:
        rows: the log's row of each event_id: rows get their number when they are in time order.
        kept: event_ids in the store.
    """

    folder: Path
    store: EventStore
    codec: Codec
    rows: list[int]
    kept: list[int]


@contextmanager
def built(
    log: list[Row],
    key: str,
    time_unit: str,
    event_filter: str | None,
    *,
    kind: str = "f32",
    num_shards: int = 1,
    partition_rows: int | None = None,
    as_arrived: bool = False,
) -> Iterator[Built]:
    """Build the store in a temporary folder.

    Args:
        partition_rows: sort about so many events at a time, on disk; None sorts all in memory.
        as_arrived: hand the events over in the order of their arrival, not of their times.
    """
    codec, rows = CODECS[kind], in_time_order(log)
    passes = np.array([row.logged for row in log], bool)
    if event_filter is not None and log:
        name, matches = parse_filter(event_filter, "label")
        passes &= matches(column(log, name))
    kept = [event for event, row in enumerate(rows) if passes[row]]
    handed = sorted(kept, key=lambda event: rows[event]) if as_arrived else kept
    raw = np.array([rows[event] for event in handed], np.int64)
    keys = column(log, key)[raw]
    limit = None
    if partition_rows is not None:
        per_key = 96 + 4 * max([1, *(len(str(each)) for each in keys)])
        limit = 1_500 + per_key * (len(set(keys.tolist())) + 1) + 170 * partition_rows
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        build_store(
            Path(folder) / "store",
            manifest_fields=store_fields(codec, key=key, time_unit=time_unit),
            key=keys,
            timestamp=column(log, "time")[raw],
            event_id=np.array(handed, np.int64),
            codes=codec.encode(embedding_of(raw)),
            pad_code=codec.pad_code,
            logit=np.zeros(len(raw), np.float32),
            side={"label": column(log, "label")[raw].astype(np.int8)},
            num_shards=num_shards,
            memory_limit=limit,
        )
        store = EventStore.open(Path(folder) / "store")
        yield Built(Path(folder) / "store", store, codec, rows, kept)


def told(
    source: HistorySource, events: np.ndarray
) -> list[tuple[list[int], list[int], list[list[float]], list[float] | None]]:
    """(row of the log, label, embedding, log_age) of each sample's past events, by column."""
    batch = source.batch(events)
    if isinstance(batch, PaddedHistory):
        _check_padding(batch)
        batch = batch.ragged()
    assert isinstance(batch, HistoryBatch) and batch.label is not None
    values = batch.embedding
    values = values.unpack() if isinstance(values, PackedEmbedding) else values
    lengths = batch.spans.length.tolist()
    assert values is not None and len(lengths) == len(events)
    columns = [batch.spans.pairs(each) for each in (batch.ids["row"] - 1, batch.label, values)]
    columns += [] if batch.log_age is None else [batch.spans.pairs(batch.log_age)]
    split = [[part.tolist() for part in each.split(lengths)] for each in columns]
    split += [[None] * len(lengths)] * (4 - len(split))
    return list(zip(*split, strict=True))


def _check_padding(batch: PaddedHistory) -> None:
    empty = ~batch.mask
    for values in (batch.embedding, batch.label, batch.log_age, batch.ids["row"]):
        assert values is None or not values[empty].any()


def assert_told(found: Any, expected: list[Seen], codec: Codec, dim: int) -> None:
    """One sample's history, as :func:`told` gives it, is that of the brute-force join."""
    rows, labels, embedding, log_age = found
    assert rows == [seen.row for seen in expected]
    assert labels == [seen.label for seen in expected]
    decoded = codec.decode(codec.encode(embedding_of(rows)))[:, :dim]
    assert embedding == decoded.tolist()
    if log_age is not None:
        wanted = [seen.log_age for seen in expected]
        np.testing.assert_allclose(log_age, wanted, rtol=1e-6, atol=0)


def source_of(
    one: Built, pointers: Any, times: list[int], rule: SequenceSpec, **more: Any
) -> HistorySource:
    """A source whose ids are the log's rows, from 1 up; a column of ids is never empty."""
    ids = {"row": np.array([*one.rows, -1], np.int64) + 1}
    now = np.array(times, np.int64)
    return HistorySource(
        one.store, pointers, one.codec, sample_time=now, spec=rule, ids=ids, **more
    )
