"""Audits pointers: computes every sample's history again by the causal rule, and compares.

A checksum says that pointers are as they were written. Whether they were written right is another
question, answered here: with the samples' keys and times from the event log, or, for samples that
are themselves events of the store, with those that the store holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.structuring.builder import build_pointers

if TYPE_CHECKING:
    from fuxictr_loopfm.prepared.dataset import PreparedDataset

AnyArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Samples:
    """Whose histories some pointers are.

    Attributes:
        position: (S,) int64 place of each sample among the pointers.
        event_id: (S,) int64 its number in the log.
        key: (S,) integers or text, value of the store's key column whose events it reads.
        time: (S,) int64 in the log's time unit.
    """

    position: NDArray[np.int64]
    event_id: NDArray[np.int64]
    key: AnyArray
    time: NDArray[np.int64]

    @classmethod
    def of_log(cls, prepared: PreparedDataset, key: str, events: slice) -> Samples:
        """The log's events in a range, all of them.

        Raises:
            DataError: the log has fewer events.
        """
        if events.stop > len(prepared.timestamp):
            raise DataError(
                f"{prepared.folder}: expected {events.stop} events or more, found "
                f"{len(prepared.timestamp)}; the pointers are of another data set."
            )
        event_id = np.arange(events.start, events.stop)
        keys, times = prepared.array(key)[events], prepared.timestamp[events]
        return cls(event_id - events.start, event_id, keys, times)

    @classmethod
    def of_store(cls, store: EventStore, events: slice) -> Samples:
        """Those of the log's events in a range that the store holds, in the log's order."""
        inside = (store.event_id >= events.start) & (store.event_id < events.stop)
        inside[0] = False  # the pad row is no event
        rows = np.flatnonzero(inside)
        rows = rows[np.argsort(store.event_id[rows], kind="stable")]
        event_id = store.event_id[rows]
        key = store.key_id[store.row_key[rows]]
        return cls(event_id - events.start, event_id, key, store.timestamp[rows])

    def __len__(self) -> int:
        return len(self.event_id)


def range_problems(store: EventStore, pointers: Pointers) -> list[str]:
    """What the store alone tells: ranges inside it, of one key each, not longer than allowed.

    Args:
        store: the store they point into; its codes are not read.
        pointers: S samples.

    Returns:
        At most one message, about the first sample that is wrong.
    """
    end, length = pointers.end.astype(np.int64), pointers.length.astype(np.int64)
    start = end - length
    empty = length == 0
    wrong = (length > pointers.spec.max_len) | (empty & (end != 0))
    wrong |= ~empty & ((start < 1) | (end > store.num_events + 1))
    checked = np.flatnonzero(~empty & ~wrong)
    wrong[checked] = store.row_key[start[checked]] != store.row_key[end[checked] - 1]
    if not wrong.any():
        return []
    position = int(np.argmax(wrong))
    return [
        f"pointer {position}: expected at most {pointers.spec.max_len} rows of one "
        f"{store.manifest.key} within [1, {store.num_events + 1}), or [0, 0) for none, found "
        f"[{start[position]}, {end[position]}); {int(wrong.sum())} of {len(pointers)} pointers are "
        "wrong"
    ]


def causal_problems(store: EventStore, pointers: Pointers, samples: Samples) -> list[str]:
    """Compare pointers with the causal rule.

    Args:
        store: the store they point into; its codes are not read.
        pointers: N samples.
        samples: some or all of them.

    Returns:
        At most one message, about the first sample that disagrees: an event it reads and must not,
        or the other way round.

    Raises:
        DataError, StoreError: the samples' keys are not of the store's type.
    """
    expected = build_pointers(store, samples.key, samples.time, pointers.spec)
    end, length = pointers.end[samples.position], pointers.length[samples.position]
    wrong = (expected.end != end) | (expected.length != length)
    if not wrong.any():
        return []
    place = int(np.argmax(wrong))
    found_rows, expected_rows = (
        range(int(ends[place]) - int(lengths[place]), int(ends[place]))
        for ends, lengths in ((end, length), (expected.end, expected.length))
    )
    key, time = samples.key[place], int(samples.time[place])
    reason = _reason(store, pointers.spec, key, time, found_rows, expected_rows)
    return [
        f"sample {samples.event_id[place]} ({store.manifest.key} {_text(key)}, time {time}): "
        f"{reason}; rule: {_rule(pointers.spec)}; {int(wrong.sum())} of {len(samples)} samples "
        "disagree"
    ]


def _reason(
    store: EventStore,
    spec: SequenceSpec,
    key: object,
    time: int,
    found_rows: range,
    expected_rows: range,
) -> str:
    """Why a sample may not read ``found_rows`` of the store but ``expected_rows``, by one event."""
    for row in reversed(found_rows):
        if not 1 <= row <= store.num_events:
            return f"reads row {row}, outside of the store's rows 1 to {store.num_events}"
        event_time = int(store.timestamp[row])
        read = f"reads event {store.event_id[row]} at time {event_time}"
        owner = store.key_id[store.row_key[row]]
        if _text(owner) != _text(key):
            return f"{read}, which is of {store.manifest.key} {_text(owner)}"
        if event_time >= time - spec.delay:
            return f"{read}, which is not before {time} - delay {spec.delay}"
        if spec.window is not None and event_time < time - spec.window:
            return f"{read}, which is before {time} - window {spec.window}"
    row = max(set(expected_rows) - set(found_rows))
    return (
        f"reads {len(found_rows)} events without event {store.event_id[row]} at time "
        f"{store.timestamp[row]}, which is one of the newest {spec.max_len}"
    )


def _rule(spec: SequenceSpec) -> str:
    oldest = "" if spec.window is None else f"t - window {spec.window} <= "
    return f"{oldest}t_event < t - delay {spec.delay}, newest {spec.max_len}"


def _text(key: object) -> str:
    return key.decode("utf-8", errors="replace") if isinstance(key, bytes) else str(key)
