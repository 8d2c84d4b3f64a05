"""The causal rule: which past events a sample may see. Pure numpy, no I/O.

An event may be in the history of a sample at time ``t`` iff

    t - window <= t_event < t - delay        (same key; strict on the right)

and of those the newest ``max_len`` are kept. Ties are out: an event with the sample's own time
(the sample itself, its page view) is never in its history. Paper: arXiv:2605.29280, the strictly
earlier interactions of the same user; ``delay`` and ``window`` are ours.

    rows      0    1    2    3    4    5          one key, sorted by (time, row)
    t_event   10   20   20   30   30   40
    sample at t = 30, max_len = 2:   end = 3, length = 2   ->   rows [1, 3)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import CausalityError, ConfigError
from fuxictr_loopfm.structuring.order import in_threads, sort_order

Int64Array = NDArray[np.int64]

_INT64 = np.iinfo(np.int64)
_BLOCK = 1 << 18


def history_bounds(
    event_key: Int64Array,
    event_time: Int64Array,
    sample_key: Int64Array,
    sample_time: Int64Array,
    *,
    max_len: int,
    delay: int = 0,
    window: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows of the newest usable events of each sample.

    Args:
        event_key: (E,) int64, events sorted by (key, time, row).
        event_time: (E,) int64, any unit, the full int64 range is exact.
        sample_key: (S,) int64, any order; a key without events has an empty history.
        sample_time: (S,) int64, the unit of ``event_time``.
        max_len: newest events kept, at least 1.
        delay: usable events are older than this, at least 0.
        window: usable events are at most this old; None is unbounded.

    Returns:
        end: (S,) uint32, int64 from 2**32 - 1 events on: exclusive end row in the sorted events,
            0 for an empty history.
        length: (S,) the smallest unsigned type for 0 to ``max_len``; the history is rows
            ``[end - length, end)``.

    Raises:
        CausalityError: the events are not sorted by (key, time).
        ConfigError: a parameter is out of its range.
    """
    event_key, event_time, sample_key = (
        np.asarray(array, dtype=np.int64) for array in (event_key, event_time, sample_key)
    )
    starts = [np.zeros(min(1, len(event_key)), np.int64)]
    for start, stop in _blocks(len(event_key) - 1):
        key, after = event_key[start:stop], event_key[start + 1 : stop + 1]
        if (after < key).any():
            raise _unsorted(event_key, event_time, start + 1 + int(np.argmax(after < key)))
        starts.append(np.flatnonzero(after != key) + start + 1)
    first_row = np.concatenate(starts)
    return bounds_of_codes(
        np.append(first_row, len(event_key)),
        event_time,
        _codes_in(event_key[first_row], sample_key),
        sample_time,
        max_len=max_len,
        delay=delay,
        window=window,
    )


def bounds_of_codes(
    key_ptr: Int64Array,
    event_time: Int64Array,
    sample_code: Int64Array,
    sample_time: Int64Array,
    *,
    max_len: int,
    delay: int = 0,
    window: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """:func:`history_bounds` for events whose keys are numbered.

    Args:
        key_ptr: (U+1,) int64, key k owns the events ``[key_ptr[k], key_ptr[k+1])``, at least one.
        event_time: (E,) int64, rising inside a key; may be a mapped file.
        sample_code: (S,) int64 number of each sample's key; -1 has no events.
        sample_time: (S,) int64.
        max_len, delay, window: as there.
    """
    _check_parameters(max_len, delay, window)
    sample_time = np.asarray(sample_time, dtype=np.int64)
    _check_times(key_ptr, event_time)
    end_dtype, length_dtype = bound_dtypes(len(event_time), max_len)
    ends, lengths = np.zeros(len(sample_code), end_dtype), np.zeros(len(sample_code), length_dtype)
    if len(event_time) == 0 or len(sample_code) == 0:
        return ends, lengths
    # In the order of the events, a block of samples needs one short range of events.
    order = sort_order(sample_code, sample_time)
    order = order[int(np.count_nonzero(sample_code < 0)) :]

    def find(block: Int64Array) -> None:
        code, time = sample_code[block], sample_time[block]
        ends[block], lengths[block] = _bounds(
            key_ptr, event_time, code, time, max_len, delay, window
        )

    in_threads(find, _short_ranges(key_ptr, sample_code, order))
    return ends, lengths


def bounds_of_events(
    key_ptr: Int64Array,
    event_time: Int64Array,
    *,
    max_len: int,
    delay: int = 0,
    window: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """:func:`history_bounds` of every event as a sample: sorted already, nothing to look up.

    Takes what :func:`bounds_of_codes` takes; end and length are (E,) in the order of the events.
    """
    _check_parameters(max_len, delay, window)
    _check_times(key_ptr, event_time)
    end_dtype, length_dtype = bound_dtypes(len(event_time), max_len)
    ends, lengths = np.zeros(len(event_time), end_dtype), np.zeros(len(event_time), length_dtype)

    def find(keys: slice) -> None:
        ptr = key_ptr[keys.start : keys.stop + 1]
        code = np.repeat(np.arange(keys.start, keys.stop), ptr[1:] - ptr[:-1])
        rows = slice(int(ptr[0]), int(ptr[-1]))
        ends[rows], lengths[rows] = _bounds(
            key_ptr, event_time, code, event_time[rows], max_len, delay, window
        )

    in_threads(find, key_ranges(key_ptr, _BLOCK))
    return ends, lengths


def key_ranges(key_ptr: Int64Array, rows: int) -> list[slice]:
    """Consecutive keys that own at most ``rows`` events together; a larger key is alone.

    Args:
        key_ptr: (U+1,) int64, key k owns the events ``[key_ptr[k], key_ptr[k+1])``.
        rows: events, at least 1.
    """
    ranges, start = [], 0
    while start < len(key_ptr) - 1:
        stop = int(np.searchsorted(key_ptr, key_ptr[start] + rows, side="right")) - 1
        ranges.append(slice(start, max(stop, start + 1)))
        start = ranges[-1].stop
    return ranges


def _bounds(
    key_ptr: Int64Array,
    event_time: Int64Array,
    code: Int64Array,
    time: Int64Array,
    max_len: int,
    delay: int,
    window: int | None,
) -> tuple[Int64Array, Int64Array]:
    """The rule itself, for samples sorted by (code, time)."""
    end = _first_at_least(key_ptr, event_time, code, _minus(time, delay))
    start = key_ptr[code]
    if window is not None:
        start = _first_at_least(key_ptr, event_time, code, _minus(time, window))
    length = np.clip(end - start, 0, max_len)
    return np.where(length > 0, end, 0), length


def bound_dtypes(num_events: int, max_len: int) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Types of ``end`` and ``length`` for that many events."""
    end = np.uint32 if num_events < np.iinfo(np.uint32).max else np.int64
    return np.dtype(end), np.min_scalar_type(max_len)


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, _BLOCK):
        yield start, min(start + _BLOCK, count)


def _check_parameters(max_len: int, delay: int, window: int | None) -> None:
    problems = []
    if max_len < 1:
        problems.append(f"max_len: expected 1 or more, found {max_len}")
    for name, value in (("delay", delay), ("window", window)):
        if value is not None and not 0 <= value <= _INT64.max:
            problems.append(f"{name}: expected 0 to {_INT64.max}, found {value}")
    if problems:
        raise ConfigError(problems)


def _check_times(key_ptr: Int64Array, event_time: Int64Array) -> None:
    for start, stop in _blocks(len(event_time) - 1):
        earlier = event_time[start + 1 : stop + 1] < event_time[start:stop]
        # Time may fall from one key to the next.
        first, last = np.searchsorted(key_ptr, (start + 1, stop + 1))
        earlier[key_ptr[first:last] - start - 1] = False
        if earlier.any():
            row = start + 1 + int(np.argmax(earlier))
            key = np.searchsorted(key_ptr, np.array([row - 1, row]), side="right") - 1
            raise _unsorted(key, event_time[row - 1 : row + 1], 1, row)


def _unsorted(
    key: Int64Array, time: Int64Array, position: int, row: int | None = None
) -> CausalityError:
    return CausalityError(
        f"Events are not sorted by (key, time): row {position if row is None else row} has (key "
        f"{key[position]}, time {time[position]}) after (key {key[position - 1]}, time "
        f"{time[position - 1]}). Sort them first."
    )


def _minus(time: Int64Array, amount: int) -> Int64Array:
    """``time - amount`` that stays at the smallest int64 where it would wrap around."""
    return np.maximum(time, _INT64.min + amount) - amount


def _codes_in(keys: Int64Array, wanted: Int64Array) -> Int64Array:
    """Position of each wanted key in the sorted unique ``keys``, -1 where it is not there."""
    if len(keys) == 0:
        return np.full(len(wanted), -1, np.int64)
    span = int(keys[-1]) - int(keys[0]) + 1
    if span <= 2 * (len(keys) + len(wanted)):
        table = np.full(span + 1, -1, np.int64)
        table[keys - keys[0]] = np.arange(len(keys))
        outside = (wanted < keys[0]) | (wanted > keys[-1])
        return table[np.where(outside, span, wanted - keys[0])]
    code = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[code] == wanted, code, -1)


def _short_ranges(
    key_ptr: Int64Array, sample_code: Int64Array, order: Int64Array
) -> Iterator[Int64Array]:
    """Consecutive pieces of ``order`` that have few samples and few events."""
    start = 0
    while start < len(order):
        block = order[start : start + _BLOCK]
        first_event = key_ptr[sample_code[block]]
        block = block[: np.searchsorted(first_event, first_event[0] + 4 * _BLOCK, side="right")]
        yield block
        start += len(block)


def _first_at_least(
    key_ptr: Int64Array, event_time: Int64Array, code: Int64Array, bound: Int64Array
) -> Int64Array:
    """First row of its key, or the key's end, that each bound is not later than.

    Args:
        code: (B,) non-decreasing.
        bound: (B,) non-decreasing inside a code.
    """
    first, last = (_first_row(key_ptr, event_time, code[i], bound[i]) for i in (0, -1))
    # All answers are in [first, last]: what lies outside need not be read.
    low, num_keys = int(code[0]), int(code[-1] - code[0]) + 1
    rows = np.clip(key_ptr[low : low + num_keys + 1], first, last)
    rank, bound_rank, span = _time_ranks(event_time[first:last], bound, num_keys)
    position = np.repeat(np.arange(num_keys), rows[1:] - rows[:-1]) * span + rank
    return np.asarray(first + np.searchsorted(position, (code - low) * span + bound_rank))


def _first_row(key_ptr: Int64Array, event_time: Int64Array, code: int, bound: int) -> int:
    start, stop = key_ptr[code : code + 2]
    return int(start + np.searchsorted(event_time[start:stop], bound))


def _time_ranks(
    event_time: Int64Array, bound: Int64Array, num_keys: int
) -> tuple[Int64Array, Int64Array, int]:
    """Ranks with ``rank(event) < rank(bound)`` iff ``event_time < bound``, from 0 to span - 1.

    Ranks are plain offsets from the first event when (key, rank) fits in 63 bits, otherwise
    positions among the distinct times, which always fit.
    """
    if len(event_time) == 0:
        return event_time, np.zeros(len(bound), np.int64), 1
    lowest, highest = int(event_time.min()), int(event_time.max())
    span = highest - lowest + 2
    if num_keys * span <= _INT64.max:
        after_all = min(highest + 1, _INT64.max)
        return event_time - lowest, np.clip(bound, lowest, after_all) - lowest, span
    distinct, event_rank = np.unique(event_time, return_inverse=True)
    return event_rank, np.searchsorted(distinct, bound), len(distinct) + 1
