"""Pointers of samples that are themselves events of a store, read range by range."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.h5 import read_array, read_rows
from fuxictr_loopfm.store.pointers import Pointers, pointer_dtypes
from fuxictr_loopfm.store.schema import EVENT_ID_DATASET
from fuxictr_loopfm.store.shard import open_shard, read_manifest
from fuxictr_loopfm.structuring.as_of import bounds_of_events, key_ranges

_RANGE_ROWS = 1 << 21
# What the pointers of the shuffled control say they are.
SHUFFLED = "shuffled_users, as many events"


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


def donors(length: np.ndarray[Any, Any], entities: np.ndarray[Any, Any]) -> NDArray[np.int64]:
    """For the shuffled control: the sample whose history each sample gets instead of its own.

    It is the newest earlier sample of another entity that sees as many past events, so histories
    stay real, as long as they were, and strictly earlier; only whose they are is wrong.

    Args:
        length: (S,) visible past events of each sample, at most the rule's ``max_len``.
        entities: (S,) integers or text, whose the samples are; in time order, as ``length``.

    Returns:
        (S,) places of the donors; -1 where no other entity came earlier with as many events.
    """
    codes = np.unique(entities, return_inverse=True)[1].ravel()
    order = np.argsort(length, kind="stable")  # by length, then in time order
    counts, owners = length[order], codes[order]
    place = np.arange(len(order))
    is_new_count = np.r_[True, counts[1:] != counts[:-1]][: len(order)]
    is_new_run = is_new_count | np.r_[True, owners[1:] != owners[:-1]][: len(order)]
    # Before a run of one owner stands another's sample, unless the run is the first of its count.
    run_start = np.maximum.accumulate(np.where(is_new_run, place, 0))
    found = np.full(len(order), -1, np.int64)
    has_donor = ~is_new_count[run_start] if len(order) else np.zeros(0, bool)
    found[order[has_donor]] = order[run_start[has_donor] - 1]
    return found


def exchanged(pointers: Pointers, entities: np.ndarray[Any, Any]) -> Pointers:
    """The pointers of the shuffled control: each sample has those of its donor, or none.

    Args:
        pointers: the samples' own.
        entities: (S,) whose the samples are, in time order.
    """
    donor = donors(pointers.length, entities)
    has_donor = donor >= 0
    end = np.where(has_donor, pointers.end[donor], 0).astype(pointers.end.dtype)
    length = np.where(has_donor, pointers.length[donor], 0).astype(pointers.length.dtype)
    return replace(pointers, end=end, length=length)
