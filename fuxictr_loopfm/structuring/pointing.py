"""Pointers of samples that are themselves events of a store, read range by range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.h5 import read_array, read_rows
from fuxictr_loopfm.store.pointers import Pointers, pointer_dtypes
from fuxictr_loopfm.store.schema import EVENT_ID_DATASET
from fuxictr_loopfm.store.shard import open_shard, read_manifest
from fuxictr_loopfm.structuring.as_of import bounds_of_events, key_ranges

_RANGE_ROWS = 1 << 21


def pointers_of_events(folder: Path | str, rows: slice, spec: SequenceSpec) -> Pointers | None:
    """Histories of some rows of the log, without their keys and times.

    An event in a store knows its key and time, so nothing is looked up, and no more of the store
    is in memory than a range of keys. The rule is that of :func:`builder.build_pointers`.

    Args:
        folder: the store.
        rows: the S samples, by event_id, with start and stop.
        spec: the rule's parameters in the log's time unit.

    Returns:
        S pointers; None if one of the samples is no event of the store.

    Raises:
        StoreError: the store is incomplete or damaged.
        CausalityError: its events are out of order.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    num_samples = rows.stop - rows.start
    end_dtype, length_dtype = pointer_dtypes(manifest.rows, spec.max_len)
    end, length = np.zeros(num_samples, end_dtype), np.zeros(num_samples, length_dtype)
    found = shift = 0
    for index, shard in enumerate(manifest.shards):
        with open_shard(folder, manifest, index) as datasets:
            key_ptr = read_array(datasets["key_ptr"])
            for keys in key_ranges(key_ptr, _RANGE_ROWS):
                ptr = key_ptr[keys.start : keys.stop + 1]
                first, last = int(ptr[0]), int(ptr[-1])
                sample = read_rows(datasets[EVENT_ID_DATASET], first, last) - rows.start
                wanted = np.flatnonzero((sample >= 0) & (sample < num_samples))
                found += len(wanted)
                if not len(wanted):
                    continue
                ends, lengths = bounds_of_events(
                    ptr - ptr[0],
                    read_rows(datasets["timestamp"], first, last),
                    max_len=spec.max_len,
                    delay=spec.delay,
                    window=spec.window,
                )
                sample, lengths = sample[wanted], lengths[wanted]
                length[sample] = lengths
                moved = ends[wanted].astype(np.int64) + (first + shift)
                end[sample] = np.where(lengths > 0, moved, 0)
        shift += shard.rows
    if found < num_samples:
        return None
    return Pointers(end=end, length=length, spec=spec, store_fingerprint=manifest.fingerprint)


def exchanged(entities: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Entity ids for the shuffled control: the distinct ones permuted, always in the same way.

    A sample then reads another entity's history, which stays real and strictly earlier; only whose
    it is is wrong. A permutation leaves one entity where it was on average.

    Args:
        entities: (S,) integers or text.

    Returns:
        (S,) of the same dtype.
    """
    distinct, codes = np.unique(entities, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(distinct))
    return np.asarray(distinct[order][codes])
