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

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import CausalityError, ConfigError

Int64Array = NDArray[np.int64]

_INT64 = np.iinfo(np.int64)


def history_bounds(
    event_key: Int64Array,
    event_time: Int64Array,
    sample_key: Int64Array,
    sample_time: Int64Array,
    *,
    max_len: int,
    delay: int = 0,
    window: int | None = None,
) -> tuple[Int64Array, Int64Array]:
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
        end: (S,) int64, exclusive end row in the sorted events, 0 for an empty history.
        length: (S,) int64, 0 to ``max_len``; the history is rows ``[end - length, end)``.

    Raises:
        CausalityError: the events are not sorted by (key, time).
        ConfigError: a parameter is out of its range.
    """
    _check_parameters(max_len, delay, window)
    event_key, event_time, sample_key, sample_time = (
        np.asarray(array, dtype=np.int64)
        for array in (event_key, event_time, sample_key, sample_time)
    )
    _check_sorted(event_key, event_time)
    if len(event_key) == 0 or len(sample_key) == 0:
        empty = np.zeros(len(sample_key), np.int64)
        return empty, empty.copy()
    first_row = np.flatnonzero(np.r_[True, event_key[1:] != event_key[:-1]])
    code, present = _codes_in(event_key[first_row], sample_key)
    event_code = np.repeat(np.arange(len(first_row)), np.diff(np.r_[first_row, len(event_key)]))
    usable_until = _minus(sample_time, delay)
    event_rank, ranks, span = _time_ranks(
        event_time,
        [usable_until] if window is None else [usable_until, _minus(sample_time, window)],
        len(first_row),
    )
    event_position = event_code * span + event_rank
    end = _first_at_least(event_position, code * span + ranks[0])
    if window is None:
        start = first_row[code]
    else:
        start = _first_at_least(event_position, code * span + ranks[1])
    length = np.where(present, np.clip(end - start, 0, max_len), 0)
    return np.where(length > 0, end, 0), length


def sort_order(key: Int64Array, time: Int64Array) -> Int64Array:
    """Row numbers (E,) that sort events by (key, time); rows of a tie keep their order.

    Args:
        key: (E,) int64 codes from 0 up.
        time: (E,) int64, the full int64 range is exact.
    """
    if len(key) == 0:
        return np.empty(0, np.int64)
    lowest, span = int(time.min()), int(time.max()) - int(time.min()) + 1
    if (int(key.max()) + 1) * span > _INT64.max:
        return np.lexsort((time, key))
    # One stable sort of a combined key takes about half the time of a lexsort.
    return np.argsort(key * span + (time - lowest), kind="stable")


def _check_parameters(max_len: int, delay: int, window: int | None) -> None:
    problems = []
    if max_len < 1:
        problems.append(f"max_len: expected 1 or more, found {max_len}")
    for name, value in (("delay", delay), ("window", window)):
        if value is not None and not 0 <= value <= _INT64.max:
            problems.append(f"{name}: expected 0 to {_INT64.max}, found {value}")
    if problems:
        raise ConfigError(problems)


def _check_sorted(key: Int64Array, time: Int64Array) -> None:
    same_key = key[1:] == key[:-1]
    unsorted = (key[1:] < key[:-1]) | (same_key & (time[1:] < time[:-1]))
    if unsorted.any():
        row = int(np.argmax(unsorted)) + 1
        raise CausalityError(
            f"Events are not sorted by (key, time): row {row} has (key {key[row]}, time "
            f"{time[row]}) after (key {key[row - 1]}, time {time[row - 1]}). Sort them first."
        )


def _minus(time: Int64Array, amount: int) -> Int64Array:
    """``time - amount`` that stays at the smallest int64 where it would wrap around."""
    return np.maximum(time, _INT64.min + amount) - amount


def _codes_in(keys: Int64Array, wanted: Int64Array) -> tuple[Int64Array, NDArray[np.bool_]]:
    """Position of each wanted key in the sorted unique ``keys``, and whether it is there."""
    if keys[0] == 0 and keys[-1] == len(keys) - 1:  # dense codes need no search
        present = (wanted >= 0) & (wanted < len(keys))
        return np.where(present, wanted, 0), present
    code = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return code, keys[code] == wanted


def _time_ranks(
    event_time: Int64Array, bounds: list[Int64Array], num_keys: int
) -> tuple[Int64Array, list[Int64Array], int]:
    """Ranks with ``rank(event) < rank(bound)`` iff ``event_time < bound``, from 0 to span - 1.

    Ranks are plain offsets from the first event when (key, rank) fits in 63 bits, otherwise
    positions among the distinct times, which always fit.
    """
    lowest, highest = int(event_time.min()), int(event_time.max())
    span = highest - lowest + 2
    if num_keys * span <= _INT64.max:
        after_all = min(highest + 1, _INT64.max)
        ranks = [np.clip(bound, lowest, after_all) - lowest for bound in bounds]
        return event_time - lowest, ranks, span
    distinct, event_rank = np.unique(event_time, return_inverse=True)
    ranks = [np.searchsorted(distinct, bound) for bound in bounds]
    return event_rank, ranks, len(distinct) + 1


def _first_at_least(ascending: Int64Array, wanted: Int64Array) -> Int64Array:
    """First position in ``ascending`` that is >= each wanted value."""
    # Searching in sorted order walks the array once instead of missing the cache per sample.
    order = np.argsort(wanted)
    found = np.empty(len(wanted), np.int64)
    found[order] = np.searchsorted(ascending, wanted[order])
    return found
