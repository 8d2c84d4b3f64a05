"""All distinct keys of the shards that are built, in the order in which their events lie there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.store.keys import shard_of_keys
from fuxictr_loopfm.structuring.blocks import AnyArray, BlockKeys, Int64Array

# Working memory per distinct key: merging holds the keys and their counts about four times.
KEY_BYTES = 96
_FEW_KEYS = 1 << 17


@dataclass(frozen=True)
class KeyTable:
    """U keys sorted by (shard, key).

    Attributes:
        key_id: (U,) int64 or fixed-length bytes; the width is that of the whole log's keys, so
            that it does not depend on which shards are built.
        row_ptr: (U+1,) int64, first event of each key among all events of these shards.
        shard: (U,) int64, non-decreasing.
        ascending: (U,) the keys by value alone.
        place: (U,) int64, where each of those is in ``key_id``.
    """

    key_id: AnyArray
    row_ptr: Int64Array
    shard: Int64Array
    ascending: AnyArray
    place: Int64Array

    @classmethod
    def collect(
        cls, blocks: Iterable[BlockKeys], num_shards: int, shards: Collection[int]
    ) -> KeyTable:
        """Read all keys and keep those of ``shards``.

        Raises:
            DataError: some keys are integers and some are text.
        """
        wanted = np.isin(np.arange(num_shards), list(shards))
        parts: list[tuple[AnyArray, Int64Array]] = []
        width: np.dtype[Any] | None = None
        for block in blocks:
            width = _wider(width, block.distinct.dtype)
            own = wanted[shard_of_keys(block.distinct, num_shards)]
            counts = np.bincount(block.code, minlength=len(block.distinct))
            parts.append((block.distinct[own], counts[own]))
            # Twice as many as are known: few merges, and never much more than all keys.
            if sum(len(keys) for keys, _ in parts[1:]) > max(_FEW_KEYS, 2 * len(parts[0][0])):
                parts = [_merge(parts)]
        keys, counts = _merge(parts)
        return cls.build(keys.astype(width or np.int64, copy=False), counts, num_shards)

    @classmethod
    def build(cls, keys: AnyArray, counts: Int64Array, num_shards: int) -> KeyTable:
        """The table of some keys.

        Args:
            keys: (U,) distinct and ascending, int64 or fixed-length bytes.
            counts: (U,) int64 events of each.
            num_shards: of the store.
        """
        shard = shard_of_keys(keys, num_shards)
        order = np.argsort(shard, kind="stable")
        place = np.empty(len(keys), np.int64)
        place[order] = np.arange(len(keys))
        row_ptr = np.zeros(len(keys) + 1, np.int64)
        np.cumsum(counts[order], out=row_ptr[1:])
        return cls(keys[order], row_ptr, shard[order], keys, place)

    def codes_of(self, keys: BlockKeys) -> Int64Array:
        """(n,) int64 position of each event's key in ``key_id``; -1 for other shards' keys."""
        if len(self.key_id) == 0:
            return np.full(len(keys.code), -1, np.int64)
        position = np.searchsorted(self.ascending, keys.distinct)
        position = np.minimum(position, len(self.ascending) - 1)
        found = self.ascending[position] == keys.distinct
        code = np.where(found, self.place[position], -1)
        return code[keys.code]

    def keys_of_shard(self, index: int) -> slice:
        """Positions of a shard's keys."""
        first, last = np.searchsorted(self.shard, (index, index + 1))
        return slice(int(first), int(last))


def _wider(one: np.dtype[Any] | None, two: np.dtype[Any]) -> np.dtype[Any]:
    if one is None:
        return two
    if one.kind != two.kind:
        raise DataError(f"key: expected all integers or all text, found {one} and {two}.")
    return one if one.itemsize >= two.itemsize else two


def _merge(parts: list[tuple[AnyArray, Int64Array]]) -> tuple[AnyArray, Int64Array]:
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if len(parts) == 1:
        return parts[0]
    # Sorting the values alone is far faster than the argsort that an inverse would need.
    keys = np.sort(np.concatenate([part[0] for part in parts]))
    keys = keys[np.r_[True, keys[1:] != keys[:-1]][: len(keys)]]
    counts = np.zeros(len(keys), np.int64)
    for part_keys, part_counts in parts:
        counts[np.searchsorted(keys, part_keys)] += part_counts
    return keys, counts
