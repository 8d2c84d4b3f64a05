"""The event store in memory: every logged event once, behind one pad row.

    row      0     1    2    3    4    5
    key      -     a    a    a    b    b        key_id  = [a, b]
    codes    pad   .    .    .    .    .        key_ptr = [1, 4, 6]

Rows are sorted by (key, timestamp, row of the log) inside a shard; the shards' rows follow one
another. A history is a half-open range of rows, so padding can always point at row 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import ProvenanceError, StoreError
from fuxictr_loopfm.files.atomic import read_whole
from fuxictr_loopfm.store import h5
from fuxictr_loopfm.store.keys import factorize_keys
from fuxictr_loopfm.store.schema import (
    EVENT_ID_DATASET,
    LEAST_KEY_BYTES,
    LEAST_ROW_BYTES,
    REBUILD,
    StoreManifest,
    provenance_problems,
)
from fuxictr_loopfm.store.shard import (
    code_width,
    open_shard,
    read_manifest,
    row_dtypes,
)

AnyArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class EventStore:
    """Arrays over all shards, n events and U keys.

    Attributes:
        folder: where it was read from.
        manifest: the store's description.
        codes: (n+1, w) quantised embeddings; row 0 is the pad row and decodes to exactly 0.
        timestamp: (n+1,) int64 in the manifest's time unit; 0 at the pad row.
        key_ptr: (U+1,) int64; key k owns rows ``[key_ptr[k], key_ptr[k+1])``.
        key_id: (U,) int64 or fixed-length UTF-8 bytes.
        event_id: (n+1,) int64 number of the event in the log, its row there; -1 at the pad row.
        logit: (n+1,) float32 teacher logit; 0 at the pad row.
        side: further columns by name, each (n+1,); 0 at the pad row.
    """

    folder: Path
    manifest: StoreManifest
    codes: AnyArray
    timestamp: NDArray[np.int64]
    key_ptr: NDArray[np.int64]
    key_id: AnyArray
    event_id: NDArray[np.int64]
    logit: NDArray[np.float32]
    side: dict[str, AnyArray]

    @classmethod
    def open(cls, folder: Path | str, *, codes: bool = True) -> EventStore:
        """Read a store; checksums, sizes, layout and row counts are always checked.

        One that is replaced meanwhile is read as it was before or as it is now.

        Args:
            folder: the store.
            codes: False leaves them out, (n+1, 0): who only asks for keys and times saves most of
                the memory.

        Raises:
            StoreError: incomplete, truncated, altered, mixed with another store, or of an unknown
                major version.
            ProvenanceError: the teacher was trained on what it logged, without backfill.
        """
        folder = Path(folder)
        return read_whole(folder, lambda: cls._open(folder, codes))

    @classmethod
    def _open(cls, folder: Path, codes: bool) -> EventStore:
        manifest = read_manifest(folder)
        source_problems = provenance_problems(manifest)
        if source_problems:
            raise ProvenanceError(f"{folder}: {'; '.join(source_problems)}")
        return cls(folder=folder, manifest=manifest, **_read_shards(folder, manifest, codes))

    @property
    def num_events(self) -> int:
        """n, without the pad row."""
        return len(self.event_id) - 1

    @property
    def num_keys(self) -> int:
        """U."""
        return len(self.key_id)

    @cached_property
    def row_key(self) -> NDArray[np.int64]:
        """(n+1,) int64 position in ``key_id`` of each row's key, non-decreasing; -1 at the pad."""
        codes = np.repeat(np.arange(self.num_keys), np.diff(self.key_ptr))
        return np.concatenate([np.array([-1]), codes])

    @cached_property
    def _keys_ascending(self) -> tuple[AnyArray, NDArray[np.int64]]:
        order = np.argsort(self.key_id, kind="stable")
        return self.key_id[order], order

    def key_code(self, values: AnyArray) -> NDArray[np.int64]:
        """Position (S,) int64 in ``key_id`` of each sample's key, -1 where the key has no events.

        Args:
            values: (S,) integers or text, as in the log's key column.

        Raises:
            DataError: the values are no keys (floats, missing values, mixed types).
            StoreError: text is looked up in a store of integers or the reverse.
        """
        wanted, code = factorize_keys(values, self.manifest.key)
        if len(wanted) == 0 or self.num_keys == 0:
            return np.full(len(code), -1, np.int64)
        found = "bytes" if wanted.dtype.kind == "S" else "int64"
        if found != self.manifest.key_dtype:
            raise StoreError(
                f"{self.folder}: key {self.manifest.key}: the store holds "
                f"{self.manifest.key_dtype} keys, the samples have {found}. Use the key column "
                f"of the log the store was built from, with the same type."
            )
        ascending, order = self._keys_ascending
        position = np.minimum(np.searchsorted(ascending, wanted), self.num_keys - 1)
        return np.where(ascending[position] == wanted, order[position], -1)[code]

    def locate(self, row: int) -> str:
        """Shard file and row inside it of a store row, for messages."""
        for shard in self.manifest.shards:
            if row <= shard.rows:
                return f"{self.folder / shard.file}: row {row}"
            row -= shard.rows
        raise IndexError(f"row beyond the {self.num_events} events of {self.folder}")


def _read_shards(folder: Path, manifest: StoreManifest, codes: bool) -> dict[str, Any]:
    """The fields of EventStore that come from the shard files."""
    for record in manifest.shards:
        # Before memory is reserved for the rows that the manifest claims.
        h5.check_size(folder / record.file, record.bytes)
        if record.bytes < LEAST_ROW_BYTES * record.rows + LEAST_KEY_BYTES * record.keys:
            raise StoreError(
                f"{folder / record.file}: expected {record.rows} rows and {record.keys} keys, "
                f"found a file of {record.bytes} bytes. {REBUILD}"
            )
    arrays: dict[str, AnyArray] = {}
    if not codes:
        arrays["codes"] = np.empty((manifest.rows + 1, 0), manifest.code_dtype)
    key_ptr = np.ones(manifest.keys + 1, np.int64)
    key_ids = []
    rows = keys = 0
    for index, record in enumerate(manifest.shards):
        with open_shard(folder, manifest, index) as datasets:
            for name, dtype in row_dtypes(manifest).items():
                if name == "codes" and not codes:
                    continue
                if name not in arrays:
                    width = (code_width(manifest),) if name == "codes" else ()
                    arrays[name] = np.empty((manifest.rows + 1, *width), dtype)
                # Only the first shard's pad row is kept.
                first = 0 if index == 0 else 1
                target = arrays[name][rows + first : rows + 1 + record.rows]
                h5.read_into(datasets[name], target, first)
            local_ptr = h5.read_array(datasets["key_ptr"])
            _check_key_ptr(folder / record.file, local_ptr, record.rows)
            key_ptr[keys : keys + record.keys + 1] = local_ptr + rows
            key_ids.append(h5.read_array(datasets["key_id"]))
        rows += record.rows
        keys += record.keys
    side = {name: arrays.pop(f"side/{name}") for name in manifest.side}
    return {
        "event_id": arrays.pop(EVENT_ID_DATASET),
        **arrays,
        "side": side,
        "key_ptr": key_ptr,
        "key_id": np.concatenate(key_ids),
    }


def _check_key_ptr(path: Path, key_ptr: NDArray[np.int64], rows: int) -> None:
    """A key's range must hold rows of that key only, which a broken key_ptr would not."""
    whole = key_ptr[0] == 1 and key_ptr[-1] == rows + 1
    if not whole or (key_ptr[1:] <= key_ptr[:-1]).any():
        raise StoreError(
            f"{path}: key_ptr: expected row numbers rising from 1 to {rows + 1}, found "
            f"{key_ptr[0]} to {key_ptr[-1]}. {REBUILD}"
        )
