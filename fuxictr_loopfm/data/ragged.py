"""Sequences kept once per token: flat codes and, per event, the window of newest tokens.

::

    codes   u0 u0 u0 u1 u1 ...        flat, by user and time
    event   end = 3, length = 2   ->  codes[1:3], padded to max_len when a batch is gathered
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.plain_arrays import map_npy

Padding = Literal["pre", "post"]

_PARTS = ("codes", "end", "length")


class EncodedSequence(NamedTuple):
    """One sequence feature of an encoded view.

    Attributes:
        codes: (M,) int32 ids of the flat tokens.
        end: (N,) int64 exclusive end of each event's window.
        length: (N,) tokens in the window, at most ``max_len``.
        max_len: width of the padded rows.
    """

    codes: np.ndarray
    end: np.ndarray
    length: np.ndarray
    max_len: int


def file_names(index: int) -> list[str]:
    """Files of the ``index``-th sequence of a view, as written by ``save_sequence``."""
    return [f"sequence-{index:03d}-{part}.npy" for part in _PARTS]


def save_sequence(folder: Path, index: int, sequence: EncodedSequence) -> None:
    """Write the three arrays as plain npy files, which can be mapped."""
    for file, array in zip(file_names(index), sequence[:3], strict=True):
        np.save(folder / file, array, allow_pickle=False)


def load_sequence(folder: Path, index: int, max_len: int) -> EncodedSequence:
    """Map the arrays that ``save_sequence`` wrote.

    Raises:
        DataError: a file is missing or damaged.
    """
    arrays = []
    for file in file_names(index):
        try:
            arrays.append(map_npy(folder / file, kind="iu", ndim=1))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder / file}: cannot be read: {error}. Delete the folder to rebuild it."
            ) from error
    codes, end, length = arrays
    return EncodedSequence(codes, end, length, max_len)


def padded_rows(
    padded_codes: np.ndarray,
    end: np.ndarray,
    length: np.ndarray,
    max_len: int,
    padding: Padding,
) -> np.ndarray:
    """Gather the newest ``max_len`` tokens of each window.

    Args:
        padded_codes: (M + 1,) codes behind one padding entry: token i is at i + 1.
        end: (B,) exclusive end in token coordinates.
        length: (B,) tokens available; longer windows lose their oldest tokens.
        max_len: width of the result.
        padding: side that is filled with ``padded_codes[0]``, as in FuxiCTR.

    Returns:
        (B, max_len) in the dtype of ``padded_codes``, a fresh array.
    """
    end = end.astype(np.int64)[:, None]
    kept = np.minimum(length, max_len).astype(np.int64)[:, None]
    steps = np.arange(max_len)
    if padding == "pre":
        position, valid = end - max_len + steps, steps >= max_len - kept
    else:
        position, valid = end - kept + steps, steps < kept
    return padded_codes[np.where(valid, position + 1, 0)]
