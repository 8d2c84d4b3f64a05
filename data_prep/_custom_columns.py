"""The columns of a spec in the types they are stored in; all rows, in the order of the log."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from _common import check_times, log2_bucket
from _custom_spec import NO_HISTORY, CustomSpec
from _raw_log import RawLog
from _values import at_least, floats, integers, is_text, is_time, side_values

from fuxictr_loopfm.errors import DataError

# What the key of a row without a user begins with; the number of its event follows.
NO_USER = "no user, event "
_FLOAT32_IDS = 2.0**24


def labels(spec: CustomSpec, log: RawLog) -> np.ndarray:
    """0/1 labels (N,) int8.

    Raises:
        DataError: a value is none, or is missing.
    """
    name = spec.label.column
    where = f"log: label {name!r}"
    columns = log.column(name)
    if any(is_text(column.type) for column in columns):
        texts = pa.chunked_array([pc.utf8_lower(log.categories(name))])
        if pc.all(pc.is_in(texts, pa.array(["true", "false"], texts.type))).as_py():
            return _numpy(pc.equal(texts, "true")).astype(np.int8)
    values, _ = log.numbers(name, where)
    if spec.label.at_least is not None:
        return at_least(values, spec.label.at_least).astype(np.int8)
    wrong = ~((values == 0) | (values == 1)).astype(bool)
    if wrong.any():
        first = int(np.argmax(wrong))
        found = [str(value) for value in np.unique(values[wrong])[:5]]
        raise DataError(
            f"{where}: expected 0 or 1, found [{', '.join(found)}] in {int(wrong.sum())} of "
            f"{len(values)} rows, the first in {log.place(first)}"
        )
    return values.astype(np.int8)


def times(spec: CustomSpec, log: RawLog) -> tuple[np.ndarray, str]:
    """Times (N,) int64 and their unit: ISO times and fractional seconds become microseconds.

    Raises:
        DataError: a value is no time of the unit, or is missing.
    """
    name, unit = spec.time.column, spec.time.unit
    where = f"log: time {name!r}"
    for column in log.column(name):
        fitting = "iso" if is_time(column.type) else "s, ms or us"
        if not is_text(column.type) and is_time(column.type) != (unit == "iso"):
            raise DataError(
                f"{where}: unit is {unit!r} but the column is {column.type}; use {fitting}"
            )
    if unit == "iso":
        values, unit = _iso_times(log, name, where), "us"
    else:
        numbers = _clock_numbers(log, name, where)
        if unit == "s" and numbers.dtype.kind != "i" and any(number % 1 for number in numbers):
            numbers, unit = _microseconds(numbers, where), "us"
        values, wrong = integers(numbers)
        log.refuse(name, wrong, f"{where}: expected integers")
    check_times(values, unit, where)
    return values, unit


def stored_columns(spec: CustomSpec, log: RawLog) -> dict[str, Any]:
    """Feature, key and side columns by name: numpy numbers (N,) or Arrow text.

    Raises:
        DataError: a value does not fit the type of its feature.
    """
    columns: dict[str, Any] = {}
    for name in spec.features:
        where = f"log: column {name!r}"
        if name in spec.numeric:
            columns[name] = _numeric(log, name, f"{where} (numeric; bucket it if it has gaps)")
        elif name in spec.buckets:
            columns[name] = _buckets(log, name, spec.buckets[name], where)
        else:
            columns[name] = log.categories(name)
    keys = [spec.user, spec.item] if spec.group is None else [spec.user, spec.item, spec.group]
    for name in keys:
        columns.setdefault(name, log.categories(name))
    for name in spec.stored_aside:
        if name not in columns:
            columns[name] = side_values(log.column(name))
    return columns


def user_keys(spec: CustomSpec, user: pa.Array) -> pa.Array:
    """Keys (N,) of the users: a row without one has a key of its own, if the spec says so.

    Args:
        spec: the spec.
        user: (N,) text in the order of the events, ``""`` for none.

    Raises:
        DataError: a user is named like the key of a row without one.
    """
    if spec.missing_user != NO_HISTORY:
        return user
    if pc.any(pc.starts_with(user, NO_USER)).as_py():
        raise DataError(
            f"log: user {spec.user!r}: expected no user whose name begins with {NO_USER!r}, which "
            "marks rows without a user; rename such users, or set missing_user to drop"
        )
    numbers = pc.cast(pa.array(np.arange(len(user))), user.type)
    prefix, nothing = pa.scalar(NO_USER, user.type), pa.scalar("", user.type)
    own = pc.binary_join_element_wise(prefix, numbers, nothing)
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(user), ""), own, user)


def _clock_numbers(log: RawLog, name: str, where: str) -> np.ndarray:
    numbers, _ = log.numbers(name, where)
    rounded = any(pa.types.is_float32(column.type) for column in log.column(name))
    if rounded:
        wrong = np.abs(floats(numbers)) >= _FLOAT32_IDS
        log.refuse(name, wrong, f"{where}: expected times below 2^24 in a float32 column")
    return numbers


def _microseconds(seconds: np.ndarray, where: str) -> np.ndarray:
    plain = floats(seconds)
    with np.errstate(invalid="ignore"):  # infinity becomes a year that is refused
        check_times(np.floor(plain).astype(np.int64), "s", where)
    if seconds.dtype.kind == "f":
        return (seconds * 1e6).round()
    return np.array([math.floor(value * 1_000_000) for value in seconds], dtype=np.int64)


def _iso_times(log: RawLog, name: str, where: str) -> np.ndarray:
    parts, wrong = [], []
    for column in log.column(name):
        if is_time(column.type):
            zone = column.type.tz if pa.types.is_timestamp(column.type) else None
            micro = pc.cast(pc.cast(column, pa.timestamp("us", zone), safe=False), pa.int64())
            wrong.append(_numpy(pc.is_null(micro)).astype(bool))
            parts.append(_numpy(pc.fill_null(micro, 0)))
        else:
            texts = pc.fill_null(column, "").to_pandas()
            parsed = pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")
            wrong.append(parsed.isna().to_numpy())
            parts.append(parsed.astype("datetime64[us, UTC]").astype("int64").to_numpy())
    expected = "ISO 8601 times such as 2024-05-01T12:30:00"
    log.refuse(name, np.concatenate(wrong), f"{where}: expected {expected}")
    return np.concatenate(parts)


def _numeric(log: RawLog, name: str, where: str) -> np.ndarray:
    numbers, _ = log.numbers(name, where)
    with np.errstate(over="ignore"):
        values = floats(numbers)
        wrong = ~np.isfinite(values.astype(np.float32))
    log.refuse(name, wrong, f"{where}: expected a finite float32")
    return values


def _buckets(log: RawLog, name: str, edges: str | list[float], where: str) -> pa.Array:
    """Buckets as text: by powers of two, or the number of edges that are not above the value."""
    numbers, absent = log.numbers(name, where, optional=True)
    if isinstance(edges, str):
        texts = log2_bucket(np.where(absent, np.nan, floats(numbers)))
        return pa.array(texts, pa.large_string())
    index = np.zeros(len(numbers), dtype=np.int64)
    for edge in edges:
        index += at_least(numbers, edge)
    texts = pc.cast(pa.array(index), pa.large_string())
    return pc.if_else(pa.array(absent), "", texts)


def _numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values
