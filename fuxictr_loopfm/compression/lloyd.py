"""One-dimensional k-means with one centre pinned at zero (numpy only), for the INT4 codec."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]

MAX_VALUES = 1_000_000
_MAX_ROUNDS = 500
_TOLERANCE = 1e-7


def fit_centres(values: NDArray[Any], count: int) -> FloatArray:
    """Centres that locally minimise the squared error of ``values``, one of them exactly 0.

    Starts from evenly spaced levels and from quantiles and keeps the better result, so the error
    is never above that of the evenly spaced levels, which are those of the uniform codec for a
    ``count`` of 16. No randomness: the rows used are evenly spaced in the input. Ours.

    Args:
        values: (n, d) finite numbers; clipped to [-1, 1]. At most ``MAX_VALUES`` are used.
        count: number of centres, even.
    Returns:
        (count,) float32: 0 first, the others ascending.
    """
    rows = min(values.shape[0], max(1, MAX_VALUES // values.shape[1]))
    chosen = np.linspace(0, values.shape[0] - 1, rows).astype(np.int64)
    ranked = np.sort(np.clip(values[chosen], -1.0, 1.0), axis=None).astype(np.float64)
    half = count // 2
    even = np.arange(-half, half) / half
    quantiles = np.quantile(ranked, (np.arange(count) + 0.5) / count)
    _, centres, pinned = min(
        (_lloyd(ranked, start) for start in (even, quantiles)), key=lambda fit: fit[0]
    )
    others = np.delete(centres, pinned)
    return np.concatenate([[0.0], others]).astype(np.float32)


def _lloyd(ranked: DoubleArray, start: DoubleArray) -> tuple[float, DoubleArray, int]:
    """Lloyd's iterations on sorted values: (squared error, ascending centres, pinned index)."""
    centres = start.copy()
    centres[np.abs(start).argmin()] = 0.0
    centres.sort()
    pinned = int(np.searchsorted(centres, 0.0))
    prefix = np.concatenate([[0.0], np.cumsum(ranked)])
    for _ in range(_MAX_ROUNDS):
        count, total = _cells(ranked, prefix, centres)
        # An empty cell keeps its centre, which lies inside the cell, so the order holds.
        moved = np.where(count > 0, total / np.maximum(count, 1), centres)
        moved[pinned] = 0.0
        step = np.abs(moved - centres).max()
        centres = moved
        if step < _TOLERANCE:
            break
    count, total = _cells(ranked, prefix, centres)
    error = float(np.square(ranked).sum() - (2.0 * centres * total - count * centres**2).sum())
    return error, centres, pinned


def _cells(
    ranked: DoubleArray, prefix: DoubleArray, centres: DoubleArray
) -> tuple[NDArray[np.int64], DoubleArray]:
    """Number and sum of the values nearest to each centre."""
    borders = np.searchsorted(ranked, (centres[1:] + centres[:-1]) / 2.0)
    edges = np.concatenate([[0], borders, [ranked.size]])
    return np.diff(edges), np.diff(prefix[edges])
