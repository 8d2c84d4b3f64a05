"""Which rows a ``keep`` rule keeps: values are compared by the type of the column.

In a text column a value is the text as it stands in the spec, whatever YAML makes of it: ``NO`` is
the text NO and ``010`` the text 010. In other columns a value must be a number, true or false, or a
time, and one that YAML reads in an unexpected way is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from _custom_rules import KeepRule, Scalar
from _raw_log import RawLog
from _values import at_least, category, is_text, is_time

from fuxictr_loopfm.errors import ConfigError, DataError

_TRUTH = {"true": "1", "false": "0", "1": "1", "0": "0"}
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_SHOWN, _MOST_DIGITS = 5, 80


def keep_rows(log: RawLog, rules: tuple[KeepRule, ...]) -> RawLog:
    """The rows that satisfy every rule.

    Raises:
        ConfigError: a value does not fit the type of its column.
        DataError: no row is left; says which values the column has.
    """
    for rule in rules:
        mask = matches(log, rule)
        if len(log) and not mask.any():
            raise DataError(_nothing_left(log, rule))
        log = log.kept(mask)
    return log


def matches(log: RawLog, rule: KeepRule) -> np.ndarray:
    """Where (N,) bool a row satisfies every condition of a rule."""
    mask = np.ones(len(log), dtype=bool)
    if rule.values:
        parts = [_equals(column, rule) for column in log.column(rule.column)]
        mask &= np.concatenate(parts)
    if rule.at_least is not None or rule.below is not None:
        values, absent = log.numbers(rule.column, f"keep: {rule.column}", optional=True)
        mask &= ~absent
        if rule.at_least is not None:
            mask &= at_least(values, rule.at_least)
        if rule.below is not None:
            mask &= ~at_least(values, rule.below)
    return mask


def _equals(column: pa.ChunkedArray, rule: KeepRule) -> np.ndarray:
    kind = column.type
    if is_time(kind):
        times = pc.cast(
            pc.cast(column, pa.timestamp("us", kind.tz if _has_zone(kind) else None), safe=False),
            pa.int64(),
        )
        wanted = pa.array([_time(scalar, rule) for scalar in rule.values], pa.int64())
        return _mask(pc.is_in(times, wanted))
    texts = category(column).values
    if is_text(kind):
        truths = any(isinstance(scalar.value, bool) for scalar in rule.values)
        spelled = pc.utf8_lower(texts)
        if (
            truths
            and pc.all(pc.is_in(spelled, pa.array(["true", "false", ""], spelled.type))).as_py()
        ):
            wanted = [
                str(scalar.value) if isinstance(scalar.value, bool) else _text(scalar, rule)
                for scalar in rule.values
            ]
            texts, wanted = spelled, [text.lower() for text in wanted]
        else:
            wanted = [_text(scalar, rule) for scalar in rule.values]
    elif pa.types.is_boolean(kind):
        wanted = [_truth(scalar, rule) for scalar in rule.values]
    elif pa.types.is_null(kind):
        wanted = [scalar.text for scalar in rule.values if scalar.text == ""]
    else:
        wanted = [_number(scalar, rule, kind) for scalar in rule.values]
    return _mask(pc.is_in(texts, pa.array(wanted, texts.type)))


def _text(scalar: Scalar, rule: KeepRule) -> str:
    if (
        scalar.written is None
        and not isinstance(scalar.value, (str, int))
        or (scalar.written is None and isinstance(scalar.value, bool))
    ):
        raise ConfigError(_wrong(rule, scalar, "text", "put it in quotes"))
    return scalar.text


def _truth(scalar: Scalar, rule: KeepRule) -> str:
    if isinstance(scalar.value, bool):
        return "1" if scalar.value else "0"
    text = str(scalar.value).lower()
    if text == "":
        return ""
    if text not in _TRUTH:
        raise ConfigError(_wrong(rule, scalar, "true or false", "write true or false"))
    return _TRUTH[text]


def _number(scalar: Scalar, rule: KeepRule, kind: pa.DataType) -> str:
    """The number as ``category`` writes it."""
    text = scalar.text.strip()
    if text == "" and isinstance(scalar.value, str):
        return ""
    try:
        if isinstance(scalar.value, bool) or not _PLAIN_NUMBER.fullmatch(text):
            raise InvalidOperation
        number = Decimal(text)
        if number.adjusted() > _MOST_DIGITS:
            raise InvalidOperation
    except InvalidOperation:
        remedy = "write a decimal number without leading zeros"
        raise ConfigError(_wrong(rule, scalar, f"a number ({kind})", remedy)) from None
    if number == number.to_integral_value():
        return str(int(number))
    if pa.types.is_floating(kind):  # written as Arrow writes it
        return str(pc.cast(pa.scalar(float(number), kind), pa.string()).as_py())
    return f"{number.normalize():f}"


def _time(scalar: Scalar, rule: KeepRule) -> int:
    try:
        moment = pd.Timestamp(scalar.text)
        if moment is pd.NaT:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        remedy = "write an ISO 8601 time such as 2024-05-01T12:30:00"
        raise ConfigError(_wrong(rule, scalar, "a time", remedy)) from None
    moment = moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")
    return int(moment.tz_localize(None).to_datetime64().astype("datetime64[us]").astype(np.int64))


def _has_zone(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz is not None)


def _wrong(rule: KeepRule, scalar: Scalar, expected: str, remedy: str) -> str:
    return (
        f"keep: {rule.column!r}: expected {expected} as in the column, found {scalar.shown}; "
        f"{remedy}"
    )


def _nothing_left(log: RawLog, rule: KeepRule) -> str:
    paths = ", ".join(str(file.path) for file in log.files)
    texts = pa.concat_arrays([category(column).values for column in log.column(rule.column)])
    counted = pc.value_counts(texts).to_pylist()
    counted.sort(key=lambda item: -item["counts"])
    shown = ", ".join(f"{item['values']!r} ({item['counts']:,})" for item in counted[:_SHOWN])
    more = f" and {len(counted) - _SHOWN:,} more" * (len(counted) > _SHOWN)
    kinds = ", ".join(sorted({str(column.type) for column in log.column(rule.column)}))
    return (
        f"log: no rows in {paths} after keep: expected at least one; keep: {rule.column!r}: "
        f"{rule.shown} fits none, the column ({kinds}) has {shown}{more}"
    )


def _mask(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False), dtype=bool)
