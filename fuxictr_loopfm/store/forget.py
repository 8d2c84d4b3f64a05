"""An event store without some events: every other row keeps its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.store import h5
from fuxictr_loopfm.store.schema import EVENT_ID_DATASET, ShardRecord, StoreManifest, shard_file
from fuxictr_loopfm.store.shard import checksum_problems, code_width, open_shard, row_dtypes
from fuxictr_loopfm.store.shard_writer import ShardWriter

_BLOCK_ROWS = 1 << 18


@dataclass(frozen=True)
class Without:
    """What a log lost.

    Attributes:
        gone: (G,) ascending rows that it no longer has; those behind them moved up.
        dataset_fingerprint: of the data set that is left.
    """

    gone: NDArray[np.int64]
    dataset_fingerprint: str

    def has(self, event_id: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows (n,) are still in the log, (n,) bool; the pad row's -1 counts as one."""
        place = np.minimum(np.searchsorted(self.gone, event_id), len(self.gone) - 1)
        return np.asarray(self.gone[place] != event_id)

    def moved(self, event_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where rows (n,) that are still there are now, (n,)."""
        return event_id - np.searchsorted(self.gone, event_id)


def write_shards_without(
    store: Path, manifest: StoreManifest, without: Without, folder: Path
) -> tuple[dict[str, Any], list[ShardRecord]]:
    """Write the shards of a store anew, block by block, without the rows a log lost.

    Keys that lost all events go, too; histories of the others are what the causal rule gives
    without those events.

    Args:
        store: its folder.
        manifest: of the store.
        without: the rows, at least one.
        folder: for the new files, another than the store's.

    Returns:
        The manifest's entries without shards and fingerprint, and the shards' records.

    Raises:
        StoreError: the store is damaged, which a rewritten one would no longer show.
    """
    altered = checksum_problems(store, manifest)
    if altered:
        raise StoreError("\n".join(altered))
    plain = manifest.to_dict() | {"dataset_fingerprint": without.dataset_fingerprint}
    del plain["shards"], plain["fingerprint"]
    records = []
    for index in range(len(manifest.shards)):
        with open_shard(store, manifest, index) as datasets:
            path = folder / shard_file(index)
            records.append(_write_shard(path, index, manifest, plain, datasets, without))
    return plain, records


def _write_shard(
    path: Path,
    index: int,
    manifest: StoreManifest,
    plain: dict[str, Any],
    datasets: dict[str, h5py.Dataset],
    without: Without,
) -> ShardRecord:
    rows = len(datasets[EVENT_ID_DATASET])
    kept = np.empty(rows, bool)
    for start in range(0, rows, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, rows)
        kept[start:stop] = without.has(h5.read_rows(datasets[EVENT_ID_DATASET], start, stop))
    counts, key_id = _keys_left(datasets, kept)
    left = int(kept.sum())
    layout: dict[str, Any] = {
        name: ((left, code_width(manifest)) if name == "codes" else (left,), dtype)
        for name, dtype in row_dtypes(manifest).items()
    }
    layout["key_ptr"] = ((len(counts) + 1,), np.int64)
    layout["key_id"] = (key_id.shape, key_id.dtype)
    writer = ShardWriter(path, index, layout, plain)
    try:
        for start in range(0, rows, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, rows)
            for name in row_dtypes(manifest):
                block = h5.read_rows(datasets[name], start, stop)[kept[start:stop]]
                writer.append(name, without.moved(block) if name == EVENT_ID_DATASET else block)
        writer.append("key_ptr", np.concatenate([[1], 1 + np.cumsum(counts)]).astype(np.int64))
        writer.append("key_id", key_id)
        return writer.finish()
    finally:
        writer.close()


def _keys_left(
    datasets: dict[str, h5py.Dataset], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], np.ndarray[Any, Any]]:
    """Number of events of each key that has any left, and those keys."""
    key_ptr, key_id = (h5.read_array(datasets[name]) for name in ("key_ptr", "key_id"))
    if not len(key_id):
        return np.zeros(0, np.int64), key_id
    counts = np.add.reduceat(kept, key_ptr[:-1], dtype=np.int64)
    return counts[counts > 0], key_id[counts > 0]
