"""npy files that anybody may have written: numbers of the expected kind, and no pickles."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def map_npy(path: Path, *, kind: str, ndim: int) -> np.ndarray:
    """The array of an npy file, mapped read-only; no memory is reserved for what it declares.

    Args:
        path: the file.
        kind: expected kinds of dtype, such as "iu" for integers and "f" for floats.
        ndim: expected number of dimensions.

    Raises:
        OSError: the file cannot be opened.
        ValueError: no npy file, Python objects, another dtype or number of dimensions, or a shape
            that the file is too short for.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # numpy raises half a dozen types for damaged headers
        raise ValueError(f"damaged header: {error}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("expected one npy array, found an archive of arrays")
    if array.dtype.kind not in kind or array.ndim != ndim:
        raise ValueError(
            f"expected {ndim} dimensions of dtype kind {kind!r}, found {array.dtype} {array.shape}"
        )
    return array
