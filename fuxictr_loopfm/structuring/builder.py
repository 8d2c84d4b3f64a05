"""Build an event store from logged events, and the pointers of samples into it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import ConfigError, DataError, StoreError
from fuxictr_loopfm.files.atomic import atomic_dir
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.h5 import writing
from fuxictr_loopfm.store.pointers import Pointers, pointer_dtypes
from fuxictr_loopfm.store.schema import MANIFEST_FILE, StoreManifest, shard_file
from fuxictr_loopfm.structuring.as_of import bounds_of_codes
from fuxictr_loopfm.structuring.blocks import ColumnSource, int64_column, row_columns
from fuxictr_loopfm.structuring.manifest import manifest_entries
from fuxictr_loopfm.structuring.reading import read_sorted
from fuxictr_loopfm.structuring.shards import write_store_manifest
from fuxictr_loopfm.structuring.sorted_events import write_sorted

AnyArray = np.ndarray[Any, Any]


def build_store(
    folder: Path | str,
    *,
    manifest_fields: Mapping[str, Any],
    key: AnyArray,
    timestamp: NDArray[np.int64],
    src_row: NDArray[np.int64],
    codes: AnyArray | None,
    pad_code: AnyArray,
    logit: NDArray[np.float32],
    side: Mapping[str, AnyArray] | None = None,
    num_shards: int = 1,
    memory_limit: int | None = None,
) -> StoreManifest:
    """Sort events by (key, timestamp, log row) and write a store; whole or not at all.

    The same events give the same bytes in whatever order they are passed. The number of shards
    moves rows, but changes no history.

    Args:
        folder: created, or replaced as a whole.
        manifest_fields: dataset_id, dataset_fingerprint, dim, codec, time_unit, key, taps,
            event_filter, backfill, provenance; see ``StoreManifest``.
        key: (E,) integers or text.
        timestamp: (E,) integers.
        src_row: (E,) integers, each event's row in the log, all different.
        codes: (E, w) uint8, int8, float16 or float32; None stores no embedding (w = 0).
        pad_code: (w,) the row that decodes to exactly 0.
        logit: (E,) float teacher logits.
        side: further columns (E,) of integers, floats or text.
        num_shards: files, by hash of the key.
        memory_limit: bytes beyond the columns themselves, at least 64 MiB; what does not fit is
            sorted in partitions on disk, with the same result. None is all there is.

    Returns:
        The manifest as written.

    Raises:
        ConfigError: ``manifest_fields`` lacks an entry or has an unknown one.
        DataError: shapes, dtypes or values do not fit.
        ProvenanceError: the teacher trained on what it logged, without backfill.
        StoreError: the folder holds something else, or cannot be written.
    """
    if num_shards < 1:
        raise ConfigError(f"num_shards: expected 1 or more, found {num_shards}")
    rows = row_columns(len(key), timestamp, src_row, codes, pad_code, logit, side or {})
    source = ColumnSource(np.asarray(key), rows, str(manifest_fields.get("key", "key")))
    folder = Path(folder)
    _refuse_foreign(folder)
    with (
        writing(folder),
        atomic_dir(folder) as temporary,
        tempfile.TemporaryDirectory(dir=temporary) as spool,
    ):
        shards = range(num_shards)
        table, events, empty = read_sorted(source, num_shards, shards, memory_limit, spool)
        plain = manifest_entries(manifest_fields, empty, table.key_id, pad_code)
        records = [
            write_sorted(temporary / shard_file(index), index, table, events, empty, plain)
            for index in shards
        ]
        return write_store_manifest(temporary, plain, records)


def build_pointers(
    store: EventStore,
    sample_key: AnyArray,
    sample_time: NDArray[np.int64],
    spec: SequenceSpec,
) -> Pointers:
    """Each sample's history in the store, by the causal rule.

    Args:
        store: an open store.
        sample_key: (S,) values of the store's key column.
        sample_time: (S,) integers in the store's time unit.
        spec: the rule's parameters in the same unit.

    Raises:
        DataError: keys or times have the wrong type or different lengths.
        CausalityError: the store's events are out of order.
    """
    sample_time = int64_column("sample time", np.asarray(sample_time))
    sample_code = store.key_code(sample_key)
    if len(sample_code) != len(sample_time):
        raise DataError(
            f"samples: expected one time per key, found {len(sample_code)} keys and "
            f"{len(sample_time)} times."
        )
    end, length = bounds_of_codes(
        store.key_ptr - 1,
        store.timestamp[1:],
        sample_code,
        sample_time,
        max_len=spec.max_len,
        delay=spec.delay,
        window=spec.window,
    )
    end_dtype, length_dtype = pointer_dtypes(store.num_events, spec.max_len)
    return Pointers(
        end=np.where(length > 0, end + 1, 0).astype(end_dtype),  # row 0 is the pad row
        length=length.astype(length_dtype),
        spec=spec,
        store_fingerprint=store.manifest.fingerprint,
    )


def _refuse_foreign(folder: Path) -> None:
    """Replacing a folder deletes what is in it, so only an event store is ever replaced."""
    ours = (folder / MANIFEST_FILE).is_file()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(
            f"{folder}: expected an event store or an empty folder, found something else. Give "
            f"another folder."
        )
