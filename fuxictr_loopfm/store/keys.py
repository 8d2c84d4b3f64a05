"""Key columns: int64 or UTF-8 text, saved as int64 or fixed-length bytes, hashed to shards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fuxictr_loopfm.errors import DataError

_INT64 = np.iinfo(np.int64)
_FNV_OFFSET, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


def factorize_keys(
    values: np.ndarray[Any, Any], column: str = "key"
) -> tuple[np.ndarray[Any, Any], NDArray[np.int64]]:
    """Sorted distinct keys and each row's position among them.

    Args:
        values: (N,) integers, text (str objects, fixed-length str, UTF-8 bytes).
        column: named in error messages.

    Returns:
        keys: (U,) int64 or fixed-length bytes, ascending.
        codes: (N,) int64 with ``keys[codes]`` equal to the values.

    Raises:
        DataError: floats, missing values, mixed types, text with NUL, integers beyond int64.
    """
    values = np.asarray(values)
    if values.ndim != 1:
        raise DataError(f"{column}: expected a key column of one dimension, found {values.shape}")
    kind: str = values.dtype.kind
    if kind == "S":
        keys, codes = np.unique(values, return_inverse=True)
        return keys, codes.astype(np.int64, copy=False)
    if kind == "O":
        kind = _kind_of_objects(values, column)
    elif kind not in "iuU":
        raise _bad_type(column, str(values.dtype))
    if kind == "U":
        codes, uniques = pd.factorize(values.astype(object))
        keys = _encode(uniques, column)
    else:
        codes, keys = pd.factorize(_as_int64(values, column))
    order = np.argsort(keys)
    position = np.empty(len(keys), np.int64)
    position[order] = np.arange(len(keys))
    return keys[order], position[codes]


def shard_of_keys(keys: np.ndarray[Any, Any], num_shards: int) -> NDArray[np.int64]:
    """Shard (U,) of each key: a fixed hash, the same on every machine and in every release.

    int64 keys go through the SplitMix64 finaliser, bytes through 64-bit FNV-1a.
    """
    with np.errstate(over="ignore"):
        if keys.dtype.kind == "S":
            mixed = np.full(len(keys), _FNV_OFFSET, np.uint64)
            width = keys.dtype.itemsize
            letters = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), width)
            for position in range(width):
                letter = letters[:, position].astype(np.uint64)
                # NUL is padding: the hash must not depend on the width of the column.
                mixed = np.where(letter == 0, mixed, (mixed ^ letter) * _FNV_PRIME)
        else:
            mixed = keys.astype(np.int64).view(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    shard: NDArray[np.int64] = (mixed % np.uint64(num_shards)).astype(np.int64)
    return shard


def _kind_of_objects(values: np.ndarray[Any, Any], column: str) -> str:
    inferred = pd.api.types.infer_dtype(values, skipna=False)
    if inferred in ("string", "integer", "empty"):
        return "U" if inferred == "string" else "i"
    raise _bad_type(column, f"object ({inferred})")


def _bad_type(column: str, found: str) -> DataError:
    return DataError(
        f"{column}: a key must be integers or text without missing values, found {found}. "
        f"Convert the column when the data set is prepared (missing text is an empty string)."
    )


def _as_int64(values: np.ndarray[Any, Any], column: str) -> NDArray[np.int64]:
    if values.dtype.kind in "uO" and len(values):
        lowest, highest = int(values.min()), int(values.max())
        if lowest < _INT64.min or highest > _INT64.max:
            raise DataError(
                f"{column}: expected keys within int64, found {lowest} to {highest}. Save the "
                f"column as text when the data set is prepared."
            )
    return values.astype(np.int64)


def _encode(texts: np.ndarray[Any, Any], column: str) -> np.ndarray[Any, Any]:
    """Fixed-length UTF-8 bytes of distinct texts."""
    joined = "".join(texts)
    if "\0" in joined:
        raise DataError(f"{column}: a text key holds a NUL character. Remove it from the column.")
    try:
        joined.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{column}: a text key is no valid Unicode ({error.reason}).") from error
    if len(texts) == 0:
        return np.empty(0, "S1")
    return np.char.encode(texts.astype(str), "utf-8")
