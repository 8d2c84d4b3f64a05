"""Events in the order of the store, from memory or from files, for the writer of a shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.store.schema import EVENT_ID_DATASET, PAD_EVENT_ID, ShardRecord
from fuxictr_loopfm.store.shard_writer import ShardWriter
from fuxictr_loopfm.structuring.blocks import AnyArray, Int64Array, Rows
from fuxictr_loopfm.structuring.key_table import KeyTable
from fuxictr_loopfm.structuring.order import sort_order

_PIECE_ROWS = 1 << 18


class SortedEvents(Protocol):
    """All events of some shards, sorted by (shard, key, timestamp, log row)."""

    def pieces(self, start: int, stop: int) -> Iterator[tuple[str, AnyArray]]:
        """The events ``[start, stop)`` of one whole shard.

        Yields:
            Name of a row dataset, and its next rows (n, ...).
        """
        ...


@dataclass(frozen=True)
class EventsInMemory:
    """Columns as they came, and the order that sorts them."""

    rows: Rows
    order: Int64Array

    @classmethod
    def sort(cls, code: Int64Array, rows: Rows) -> EventsInMemory:
        """Sort events by (code, timestamp, log row)."""
        return cls(rows, event_order(code, rows["timestamp"], rows[EVENT_ID_DATASET]))

    def pieces(self, start: int, stop: int) -> Iterator[tuple[str, AnyArray]]:
        for first in range(start, stop, _PIECE_ROWS):
            chosen = self.order[first : min(first + _PIECE_ROWS, stop)]
            for name, values in self.rows.items():
                yield name, np.take(values, chosen, axis=0)


def event_order(code: Int64Array, timestamp: Int64Array, event_id: Int64Array) -> Int64Array:
    """Positions (E,) that sort events by (code, timestamp, row of the log).

    Raises:
        DataError: a row of the log is there twice.
    """
    order = sort_order(code, timestamp)
    if (event_id[1:] > event_id[:-1]).all():
        return order
    _refuse_repeated(event_id)
    # What came in another order than the log's is wrong only inside ties, which are few.
    tied = np.diff(code[order]) == 0
    tied &= np.diff(timestamp[order]) == 0
    group = np.cumsum(np.r_[True, ~tied])
    inside = np.flatnonzero(np.r_[tied, False] | np.r_[False, tied])
    rows = order[inside]
    order[inside] = rows[np.lexsort((event_id[rows], group[inside]))]
    return order


def _refuse_repeated(event_id: Int64Array) -> None:
    ascending = np.sort(event_id)
    repeated = np.flatnonzero(ascending[1:] == ascending[:-1])
    if len(repeated):
        raise DataError(
            f"event_id: expected every event once, found row {ascending[repeated[0]]} of the log "
            f"twice. Run the extraction again."
        )


def write_sorted(
    path: Path,
    index: int,
    table: KeyTable,
    events: SortedEvents,
    empty: Rows,
    plain: dict[str, Any],
) -> ShardRecord:
    """Write a shard file.

    Args:
        path: a temporary name.
        index: of the shard.
        table: the keys of at least this shard.
        events: of the same shards.
        empty: row datasets without rows, for their dtypes and shapes.
        plain: the manifest's entries.
    """
    keys = table.keys_of_shard(index)
    row_ptr = table.row_ptr[keys.start : keys.stop + 1]
    start, stop = int(row_ptr[0]), int(row_ptr[-1])
    layout: dict[str, Any] = {
        name: ((stop - start + 1, *values.shape[1:]), values.dtype)
        for name, values in empty.items()
    }
    layout["key_ptr"] = ((len(row_ptr),), np.int64)
    layout["key_id"] = ((keys.stop - keys.start,), table.key_id.dtype)
    pads = {EVENT_ID_DATASET: PAD_EVENT_ID, "codes": plain["codec"]["pad_code"]}
    writer = ShardWriter(path, index, layout, plain)
    try:
        for name, values in empty.items():
            pad = np.zeros((1, *values.shape[1:]), values.dtype)
            if name in pads:
                pad[:] = pads[name]
            writer.append(name, pad)
        for name, values in events.pieces(start, stop):
            writer.append(name, values)
        writer.append("key_ptr", row_ptr - start + 1)
        writer.append("key_id", table.key_id[keys])
        return writer.finish()
    finally:
        writer.close()
