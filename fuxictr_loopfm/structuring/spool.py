"""Out of core: events dealt to partitions on disk, each of which is then sorted in memory.

A partition is a range of consecutive keys of one shard (which is a hash partition of all keys), so
the sorted partitions follow one another in the shard's file. There is one file per column. Every
block of the log is put into the order of the partitions and appended to it whole; a partition is
read back as one short run per block.

    block 0                block 1                block 2
    | p0 | p1 | p2 | p3 |  | p0 | p1 | p2 | p3 |  | p0 | ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.store.schema import EVENT_ID_DATASET
from fuxictr_loopfm.structuring.as_of import key_ranges
from fuxictr_loopfm.structuring.blocks import AnyArray, BlockKeys, Int64Array, Rows
from fuxictr_loopfm.structuring.key_table import KeyTable
from fuxictr_loopfm.structuring.sorted_events import event_order

# Sorting holds code, time, log row, order, a bucket and numpy's workspace for each event.
SORT_BYTES = 56
_CODE = "code"


class KeySpool:
    """Blocks of keys on disk, so that they are numbered once though they are needed twice."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "keys.spool"

    def passing(self, blocks: Iterable[BlockKeys]) -> Iterator[BlockKeys]:
        """The blocks, written on their way."""
        with open(self._path, "wb") as file:
            for block in blocks:
                code = block.code.astype(np.min_scalar_type(len(block.distinct)))
                for values in (block.distinct, code):
                    np.save(file, values, allow_pickle=False)
                yield block

    def __iter__(self) -> Iterator[BlockKeys]:
        size = self._path.stat().st_size
        with open(self._path, "rb") as file:
            while file.tell() < size:
                yield BlockKeys(*(np.load(file, allow_pickle=False) for _ in range(2)))


class Spool:
    """Events on disk, sorted partition by partition while they are read.

    Args:
        folder: holds the column files; the caller deletes it.
        table: all keys of the shards to build.
        partition_rows: events that may be sorted in memory at a time.
    """

    def __init__(self, folder: Path, table: KeyTable, partition_rows: int) -> None:
        self._folder, self._table = folder, table
        self._partition_rows = partition_rows
        self._first_row = _partition_starts(table, partition_rows)
        first_key = np.searchsorted(table.row_ptr[:-1], self._first_row[:-1], side="left")
        counts = np.diff(np.r_[first_key, len(table.key_id)])
        self._partition_of_key = np.repeat(np.arange(len(first_key)), counts)
        self._counts: list[Int64Array] = []
        self._dtypes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}

    def add(self, keys: BlockKeys, rows: Rows) -> None:
        """Append a block of events, leaving out other shards' keys."""
        code = self._table.codes_of(keys)
        own = np.flatnonzero(code >= 0)
        partition = self._partition_of_key[code[own]]
        # numpy deals out small numbers in linear time.
        small = partition.astype(np.min_scalar_type(len(self._first_row)))
        own = own[np.argsort(small, kind="stable")]
        self._counts.append(np.bincount(partition, minlength=len(self._first_row) - 1))
        self._append(_CODE, code[own].astype(np.min_scalar_type(len(self._table.key_id))))
        for name, values in rows.items():
            self._append(name, np.take(values, own, axis=0))

    def pieces(self, start: int, stop: int) -> Iterator[tuple[str, AnyArray]]:
        """See :class:`SortedEvents`."""
        first, last = np.searchsorted(self._first_row, (start, stop))
        for partition in range(int(first), int(last)):
            rows = self._first_row[partition + 1] - self._first_row[partition]
            if rows > self._partition_rows:
                yield from self._one_key(partition)
            else:
                yield from self._sorted(partition)

    def _sorted(self, partition: int) -> Iterator[tuple[str, AnyArray]]:
        code = self._load(_CODE, partition).astype(np.int64)
        time, event_id = (self._load(name, partition) for name in ("timestamp", EVENT_ID_DATASET))
        order = event_order(code, time, event_id)
        del code, time, event_id
        for name in self._columns:
            yield name, np.take(self._load(name, partition), order, axis=0)

    def _one_key(self, partition: int) -> Iterator[tuple[str, AnyArray]]:
        """A key that is too large to be sorted; in a log that is in time order it need not be."""
        last = (np.iinfo(np.int64).min, -1)
        runs = (self._runs(name, partition) for name in ("timestamp", EVENT_ID_DATASET))
        for time, event_id in zip(*runs, strict=True):
            time, event_id = np.r_[last[0], time], np.r_[last[1], event_id]
            later = event_id[1:] > event_id[:-1]
            later = (time[1:] > time[:-1]) | ((time[1:] == time[:-1]) & later)
            if not later.all():
                rows = int(self._first_row[partition + 1] - self._first_row[partition])
                raise ConfigError(
                    f"memory_limit: a single key has {rows} events, which are not in time order, "
                    f"and {self._partition_rows} can be sorted at a time. Raise the limit "
                    f"{-(-rows // self._partition_rows)} times."
                )
            last = (int(time[-1]), int(event_id[-1]))
        for name in self._columns:
            yield from ((name, run) for run in self._runs(name, partition))

    @property
    def _columns(self) -> list[str]:
        return [name for name in self._dtypes if name != _CODE]

    def _append(self, name: str, values: AnyArray) -> None:
        self._dtypes[name] = (values.dtype, values.shape[1:])
        with open(self._file(name), "ab") as file:
            file.write(np.ascontiguousarray(values).data)

    def _load(self, name: str, partition: int) -> AnyArray:
        dtype, shape = self._dtypes[name]
        rows = int(self._first_row[partition + 1] - self._first_row[partition])
        values, written = np.empty((rows, *shape), dtype), 0
        for run in self._runs(name, partition):
            values[written : written + len(run)] = run
            written += len(run)
        return values

    def _runs(self, name: str, partition: int) -> Iterator[AnyArray]:
        """The partition's rows of each block."""
        dtype, shape = self._dtypes[name]
        with open(self._file(name), "rb", buffering=0) as file:
            for start, count in zip(
                *(each[:, partition] for each in (self._starts, self._sizes)), strict=True
            ):
                run = np.empty((count, *shape), dtype)
                if run.nbytes:
                    file.seek(start * (run.nbytes // len(run)))
                    if file.readinto(run.data.cast("B")) != run.nbytes:
                        raise OSError(f"{self._file(name)}: cannot be read back whole")
                yield run

    @cached_property
    def _sizes(self) -> Int64Array:
        """(blocks, partitions) rows of each run."""
        return np.array(self._counts, np.int64)

    @cached_property
    def _starts(self) -> Int64Array:
        """(blocks, partitions) first row of each run in its file."""
        sizes = self._sizes.ravel()
        return np.asarray(np.cumsum(sizes) - sizes).reshape(self._sizes.shape)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name.replace('/', '-')}.spool"


def _partition_starts(table: KeyTable, partition_rows: int) -> Int64Array:
    """First event of each partition, and the number of events; a larger key is alone."""
    starts = []
    for index in np.unique(table.shard):
        keys = table.keys_of_shard(int(index))
        row_ptr = table.row_ptr[keys.start : keys.stop + 1]
        ranges = key_ranges(row_ptr, partition_rows)
        starts += [int(row_ptr[each.start]) for each in ranges]
    return np.array([*starts, table.row_ptr[-1]], np.int64)
