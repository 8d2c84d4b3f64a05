"""Users drawn with replacement: what every confidence interval of this package comes from.

The rows of one user are not independent, so whole users are drawn, each with all of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fuxictr_loopfm.errors import DataError

CONFIDENCE = 0.95
RESAMPLES = 1000
_CHUNK_ENTRIES = 1 << 23


class Estimate(NamedTuple):
    """A value on all rows and its 95% percentile interval over resampled users."""

    value: float
    low: float
    high: float


def multiplicities(users: int, n_boot: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each user is in each resample, some resamples at a time.

    Args:
        users: U; each resample draws so many, with replacement.
        n_boot: number of resamples.
        seed: of the drawing.

    Yields:
        (R, U) counts, whose rows add up to U; ``n_boot`` rows in all.

    Raises:
        DataError: no resample is asked for.
    """
    if n_boot < 1:
        raise DataError(f"n_boot: expected at least 1 resample, found {n_boot}")
    generator = np.random.default_rng(seed)
    size = max(1, _CHUNK_ENTRIES // users)
    for start in range(0, n_boot, size):
        count = min(size, n_boot - start)
        drawn = generator.integers(0, users, size=(count, users))
        drawn += np.arange(count)[:, None] * users
        yield np.bincount(drawn.ravel(), minlength=count * users).reshape(count, users)


def resampled_totals(sums: NDArray[np.float64], n_boot: int, seed: int) -> NDArray[np.float64]:
    """(n_boot, columns) totals of resamples.

    Args:
        sums: (U, columns) totals of each user.
        n_boot, seed: as in ``multiplicities``.
    """
    return np.concatenate([counts @ sums for counts in multiplicities(len(sums), n_boot, seed)])


def interval(value: float, resampled: NDArray[np.float64]) -> Estimate:
    """A value with the middle 95% of its resampled values.

    Args:
        value: of the data themselves.
        resampled: (n_boot,) float64, of the data resampled.
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


def user_codes(user: ArrayLike, rows: int) -> NDArray[np.int64]:
    """(rows,) users numbered from 0.

    Raises:
        DataError: not one user for each row, or fewer than 2 users.
    """
    users = np.asarray(user)
    if users.shape != (rows,):
        raise DataError(f"user: expected shape ({rows},), found {users.shape}")
    codes = np.unique(users, return_inverse=True)[1].ravel()
    if codes.max() == 0:
        raise DataError("user: expected at least 2 users to resample, found 1")
    return codes
