"""Values of raw columns, exactly: what is missing, categories as text, numbers, comparisons.

Everything works on Arrow columns of one file as ``read_exact`` gives them. Integers are never
turned into floats, and a float that may stand for several integers is not taken for one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

# From here on a float stands for more than one integer.
_INEXACT = {pa.float32(): 2.0**24, pa.float64(): 2.0**53}
_SURE_DIGITS = 15
_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True)
class Converted:
    """N values of a column, and which could not be had.

    Attributes:
        values: (N,) numpy array or Arrow text; anything where missing or wrong.
        missing: (N,) bool, no value is given.
        wrong: (N,) bool, a value is given but is none of the expected kind.
    """

    values: Any
    missing: np.ndarray
    wrong: np.ndarray


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of ``read_exact`` holds text."""
    return bool(pa.types.is_large_string(kind))


def is_time(kind: pa.DataType) -> bool:
    """Whether a column holds dates or times."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def without_texts(column: pa.ChunkedArray, texts: Sequence[str]) -> pa.ChunkedArray:
    """The column with null for each of ``texts``, if it holds text."""
    if not texts or not is_text(column.type):
        return column
    found = pc.is_in(column, pa.array(list(texts), column.type))
    return pc.if_else(found, pa.scalar(None, column.type), column)


def missing(column: pa.ChunkedArray) -> np.ndarray:
    """Where (N,) bool no value is given: null, NaN or blank text."""
    absent = pc.is_null(column, nan_is_null=True)
    if is_text(column.type):
        blank = pc.equal(pc.utf8_trim_whitespace(column), "")
        absent = pc.or_(absent, blank.fill_null(False))
    return _mask(absent)


def category(column: pa.ChunkedArray) -> Converted:
    """Text of a category: ``""`` where missing, whole numbers without a decimal point, 1 and 0 for
    true and false, all else as it is written.

    Wrong are whole numbers in floats that are too large for the float to be the only one near it.
    """
    kind = column.type
    absent = _mask(pc.is_null(column, nan_is_null=True))
    wrong = np.zeros(len(column), dtype=bool)
    if pa.types.is_null(kind):
        texts = pa.chunked_array([pa.array([""] * len(column), pa.large_string())])
    elif pa.types.is_floating(kind):
        values = column.to_numpy()
        with np.errstate(invalid="ignore"):
            whole = np.isfinite(values) & (values == np.floor(values))
            wrong = whole & (np.abs(values) >= _INEXACT[kind])
        integers = pa.array(np.where(whole & ~wrong, values, 0).astype(np.int64))
        texts = pc.cast(integers, pa.large_string())
        if wrong.any() or not (whole | absent).all():
            texts = pc.if_else(pa.array(whole & ~wrong), texts, pc.cast(column, pa.large_string()))
    elif pa.types.is_boolean(kind):
        texts = pc.cast(pc.cast(column, pa.int8()), pa.large_string())
    else:
        texts = column if is_text(kind) else pc.cast(column, pa.large_string())
        if pa.types.is_decimal(kind) and kind.scale > 0:
            texts = pc.replace_substring_regex(texts, r"(\.[0-9]*[1-9])0+$", r"\1")
            texts = pc.replace_substring_regex(texts, r"\.0+$", "")
    texts = pc.fill_null(pc.if_else(pa.array(~absent), texts, ""), "")
    return Converted(_flat(texts), absent, wrong)


def numbers(column: pa.ChunkedArray) -> Converted:
    """Numbers as int64 or float64; as Python's numbers where neither holds them exactly.

    Text is read as a number, true is 1 and false is 0. Wrong is what is no number.
    """
    kind = column.type
    absent = missing(column)
    wrong = np.zeros(len(column), dtype=bool)
    if pa.types.is_null(kind):
        values: np.ndarray = np.zeros(len(column), np.int64)
    elif is_time(kind):
        values, wrong = np.zeros(len(column), np.int64), ~absent
    elif is_text(kind):
        values, wrong = _text_numbers(pc.utf8_trim_whitespace(column), absent)
    elif pa.types.is_floating(kind):
        values = np.where(absent, 0, column.to_numpy()).astype(np.float64)
    elif pa.types.is_boolean(kind):
        values = _numpy(pc.cast(column, pa.int64()))
    elif pa.types.is_decimal(kind):
        values = _decimal_numbers(column, absent)
    else:
        values = _whole_numbers(column)
    return Converted(values, absent, wrong)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Numbers of several files as one array that holds each exactly."""
    kinds = {part.dtype.kind for part in parts}
    if len(kinds) > 1 and "O" not in kinds:
        if all(_whole(part).all() for part in parts):
            parts = [part.astype(np.int64) for part in parts]
        elif not all(_is_sure(part) for part in parts if part.dtype.kind == "i"):
            parts = [part.astype(object) for part in parts]
    return np.concatenate(parts)


def integers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 (N,) of the result of :func:`numbers`, and where (N,) bool it is no such integer."""
    if values.dtype.kind == "i":
        return values, np.zeros(len(values), dtype=bool)
    if values.dtype.kind == "f":
        fits = _whole(values)
        return np.where(fits, values, 0).astype(np.int64), ~fits
    fits = np.array([_INT64.min <= v <= _INT64.max and v == int(v) for v in values], dtype=bool)
    whole = [int(value) if fit else 0 for value, fit in zip(values, fits, strict=True)]
    return np.array(whole, dtype=np.int64), ~fits


def at_least(values: np.ndarray, bound: float) -> np.ndarray:
    """Where (N,) bool numbers are ``bound`` or more, compared exactly."""
    if values.dtype.kind == "i":
        return np.asarray(values >= math.ceil(bound))
    if values.dtype.kind == "f":
        nearest = float(bound)
        if nearest < bound:
            nearest = math.nextafter(nearest, math.inf)
        return np.asarray(values >= nearest)
    return np.array([value >= bound for value in values], dtype=bool)


def floats(values: np.ndarray) -> np.ndarray:
    """float64 (N,) of the result of :func:`numbers`, the nearest where none is equal."""
    return values.astype(np.float64)


def side_values(columns: Sequence[pa.ChunkedArray]) -> np.ndarray | pa.ChunkedArray:
    """A side column of all files: numbers where every value is one and none is lost, else text.

    Text counts as numbers only if each is written plainly, so that no two texts are one number:
    ``7`` and ``12.5``, but neither ``007`` nor ``1e2``. Columns with missing values are text.
    """
    if not any(missing(column).any() for column in columns):
        if all(pa.types.is_boolean(column.type) for column in columns):
            return np.concatenate([_numpy(column) for column in columns])
        plain = not any(is_time(column.type) for column in columns)
        if plain and _plainly_written([c for c in columns if is_text(c.type)]):
            values = joined([numbers(column).values for column in columns])
            if values.dtype.kind == "f" and _whole(values).all():
                return values.astype(np.int64)
            if values.dtype.kind != "O":
                return values
    return pa.chunked_array([category(column).values for column in columns], pa.large_string())


def _plainly_written(columns: Sequence[pa.ChunkedArray]) -> bool:
    whole, fraction = r"^(0|-?[1-9][0-9]{0,17})$", r"^-?(0|[1-9][0-9]{0,14})\.[0-9]*[1-9]$"
    point = r"^-?(0|[1-9][0-9]{0,14})\.0$"
    matched = []
    for pattern in (whole, fraction, point):
        matched.append([_mask(pc.match_substring_regex(c, pattern)) for c in columns])
    every = all((a | b | c).all() for a, b, c in zip(*matched, strict=True))
    # "1" and "1.0" in one column would become one number.
    both = any(mask.any() for mask in matched[0]) and any(mask.any() for mask in matched[2])
    short = all((pc.max(pc.utf8_length(c)).as_py() or 0) <= 19 for c in columns)
    return every and short and not both


def _text_numbers(texts: pa.ChunkedArray, absent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    texts = pc.if_else(pa.array(~absent), texts, "0")
    nothing = np.zeros(len(texts), dtype=bool)
    try:
        return _numpy(pc.cast(texts, pa.int64())), nothing
    except pa.ArrowInvalid:
        pass
    plain = pd.to_numeric(texts.to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.isnan(plain)
    if not (np.isfinite(plain) & (np.abs(plain) >= 2.0**53)).any():
        return np.where(wrong, 0, plain), wrong
    values = np.empty(len(texts), dtype=object)
    values[:] = [
        Decimal(0) if bad else Decimal(text)
        for bad, text in zip(wrong.tolist(), texts.to_pylist(), strict=True)
    ]
    return values, wrong


def _decimal_numbers(column: pa.ChunkedArray, absent: np.ndarray) -> np.ndarray:
    try:
        return _numpy(pc.cast(column, pa.int64()))
    except pa.ArrowInvalid:
        pass
    if column.type.precision <= _SURE_DIGITS:
        return np.where(absent, 0, _numpy(pc.cast(column, pa.float64())))
    return _objects(column)


def _whole_numbers(column: pa.ChunkedArray) -> np.ndarray:
    try:
        return _numpy(pc.cast(column, pa.int64()))
    except pa.ArrowInvalid:
        return _objects(column)


def _objects(column: pa.ChunkedArray) -> np.ndarray:
    values = np.empty(len(column), dtype=object)
    values[:] = [0 if value is None else value for value in column.to_pylist()]
    return values


def _is_sure(values: np.ndarray) -> bool:
    return bool(((values > -(2**53)) & (values < 2**53)).all())


def _whole(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f":
        return np.ones(len(values), dtype=bool)
    return np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2.0**53)


def _numpy(column: pa.ChunkedArray) -> np.ndarray:
    zero = False if pa.types.is_boolean(column.type) else 0
    filled = pc.fill_null(column, zero) if column.null_count else column
    values: np.ndarray = filled.to_numpy(zero_copy_only=False)
    return values


def _mask(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
