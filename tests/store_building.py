"""Stores of columns that a test has in memory, built the way the package builds them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.store.keys import factorize_keys
from fuxictr_loopfm.store.schema import StoreManifest
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.structuring.blocks import BlockKeys, Rows, row_columns
from fuxictr_loopfm.structuring.shards import StorePlan, build_shards, finish_store, parts_folder


@dataclass(frozen=True)
class ColumnSource:
    """Columns that are in memory, in any order.

    Attributes:
        key: (E,) integers or text.
        rows: see ``blocks.Rows``.
        key_name: named in error messages.
    """

    key: np.ndarray
    rows: Rows
    key_name: str

    @property
    def num_events(self) -> int:
        return len(self.key)

    @property
    def read_bytes(self) -> int:
        widths = [v.dtype.itemsize * math.prod(v.shape[1:]) for v in self.rows.values()]
        return self.key.dtype.itemsize + 2 * np.dtype(np.int64).itemsize + sum(widths)

    @property
    def block_rows(self) -> int:
        return max(1, len(self.key))  # the columns as they are, without a copy

    def keys(self, rows: int) -> Iterator[BlockKeys]:
        # An empty log has one empty block, which says what type its keys are.
        for start in range(0, max(1, len(self.key)), rows):
            yield BlockKeys(*factorize_keys(self.key[start : start + rows], self.key_name))

    def blocks(self, rows: int) -> Iterator[Rows]:
        for start in range(0, max(1, len(self.key)), rows):
            yield {name: values[start : start + rows] for name, values in self.rows.items()}


def build_store(
    folder: Path,
    *,
    manifest_fields: Mapping[str, Any],
    key: np.ndarray,
    pad_code: np.ndarray,
    num_shards: int = 1,
    memory_limit: int | None = None,
    **columns: Any,
) -> StoreManifest:
    """Build a store, in the place of one that is there.

    Args:
        folder: of the store.
        manifest_fields: see ``manifest.manifest_entries``.
        key: (E,) integers or text.
        pad_code: (w,) the row that decodes to exactly 0.
        num_shards, memory_limit: as in ``build_shards``.
        columns: ``timestamp``, ``event_id``, ``codes`` and ``logit``, (E, ...) each, and ``side``.
    """
    columns = {"side": {}, **columns}
    rows = row_columns(len(key), pad_code=pad_code, **columns)
    source = ColumnSource(np.asarray(key), rows, str(manifest_fields["key"]))
    plan, parts = StorePlan(manifest_fields, pad_code, num_shards), parts_folder(folder)
    try:
        build_shards(parts, source, plan, range(num_shards), memory_limit)
        if folder.is_dir():
            shutil.rmtree(folder)
        assert finish_store(folder, parts, num_shards) == []
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return read_manifest(folder)
