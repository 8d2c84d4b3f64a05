"""From (end, length) pointers to padded rows of a batch. numpy only, no masks multiplied.

    end = 6, length = 2, max_len = 4   ->   index [0, 0, 4, 5], mask [no, no, yes, yes]

Left-padded, newest event last. Padding points at row 0, the pad row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def history_index(
    end: NDArray[Any], length: NDArray[Any], max_len: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Store rows and validity of each history step.

    Args:
        end: (B,) integers, exclusive end rows.
        length: (B,) integers; histories longer than ``max_len`` keep their newest events.
        max_len: L, 1 to 65535.

    Returns:
        index: (B, L) int64 rows, 0 at padding.
        mask: (B, L) bool, True at events.
    """
    # A countdown in the dtype of the lengths keeps the comparison one byte wide where it can be.
    fits = max_len <= np.iinfo(length.dtype).max
    countdown = np.arange(max_len, 0, -1, dtype=length.dtype if fits else np.int64)
    mask = length[:, None] >= countdown
    index = np.where(mask, end.astype(np.int64)[:, None] + np.arange(-max_len, 0), 0)
    return index, mask


def take_rows(values: np.ndarray[Any, Any], index: NDArray[np.int64]) -> np.ndarray[Any, Any]:
    """``values[index]`` at memory speed, in a fresh array.

    Args:
        values: (n+1, ...) row 0 being the pad row.
        index: rows within ``values``, from :func:`history_index`; not checked.

    Returns:
        Array of shape ``index.shape + values.shape[1:]``.
    """
    return np.take(values, index, axis=0, mode="clip")
