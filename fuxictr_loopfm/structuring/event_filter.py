"""Which logged events may enter a history, for example watched videos only."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import ConfigError

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
LABEL = "label"
# More than any integer of a column, so that no text makes an integer of a million digits.
_BEYOND = Decimal(2) ** 65
_TRUTH = {"true": Decimal(1), "false": Decimal(0)}
_FILTER = re.compile(r"\s*([^\s=!<>]+)\s*(==|!=|>=|<=|>|<)\s*(\S.*?)\s*")


Matcher = Callable[[np.ndarray[Any, Any]], NDArray[np.bool_]]


def parse_filter(text: str, label: str) -> tuple[str, Matcher]:
    """Column of a filter, and the function that says which of its values pass.

    Args:
        text: ``column operator value``; ``label`` stands for the label column, whose value is
            known only after ``loopfm_label_delay_seconds``.
        label: name of the label column.
    Raises:
        ConfigError: the text is no filter; or, from the function, its value does not fit.
    """
    match = _FILTER.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"loopfm_event_filter: expected 'column operator value' with one of "
            f"{list(_OPERATORS)}, for example 'label == 1', found {text!r}"
        )
    column, symbol, value = match.groups()
    if column == label != LABEL:
        raise ConfigError(
            f"loopfm_event_filter: expected 'label' for the label column, found {column!r}; the "
            "name label makes events wait for loopfm_label_delay_seconds"
        )
    return label if column == LABEL else column, partial(_passes, column, symbol, value)


def filter_column(text: str) -> str | None:
    """The column that a filter is on, ``label`` for the label; None if the text is no filter.

    The events of a filter wait until the value of this column is known.
    """
    match = _FILTER.fullmatch(text)
    return None if match is None else match.group(1)


def _passes(
    column: str, symbol: str, value: str, values: np.ndarray[Any, Any]
) -> NDArray[np.bool_]:
    kind = values.dtype.kind
    if kind == "b" and value.lower() in _TRUTH:
        return _compared(symbol, values.astype(np.int8), _TRUTH[value.lower()])
    if kind in "iufb":
        number = _number(value)
        if number is None:
            raise ConfigError(
                f"loopfm_event_filter: {column} is numeric: expected a number, found {value!r}"
            )
        return _compared(symbol, values, number)
    if symbol not in ("==", "!="):
        return _passes_as_number(column, symbol, value, values)
    return np.asarray(_OPERATORS[symbol](values.astype(str), value.strip("'\"")), dtype=bool)


def _passes_as_number(
    column: str, symbol: str, value: str, values: np.ndarray[Any, Any]
) -> NDArray[np.bool_]:
    """Compare texts that are numbers, as of a column with missing values; those never pass."""
    bound = _number(value)
    numbers = [_number(text) for text in values.tolist()]
    unknown = [text for text, n in zip(values.tolist(), numbers, strict=True) if n is None and text]
    if bound is None or unknown:
        raise ConfigError(
            f"loopfm_event_filter: {column} is text: expected == or !=, found {symbol}"
        )
    compare = _OPERATORS[symbol]
    return np.array([n is not None and compare(n, bound) for n in numbers], dtype=bool)


def _number(text: str) -> Decimal | None:
    """A finite number as it is written; None if it is none."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _compared(symbol: str, values: np.ndarray[Any, Any], bound: Decimal) -> NDArray[np.bool_]:
    """Integers are compared exactly, floats with the float that the bound is written for."""
    if values.dtype.kind == "f":
        return np.asarray(_OPERATORS[symbol](values, float(bound)), dtype=bool)
    bound = max(min(bound, _BEYOND), -_BEYOND)
    whole = int(bound.to_integral_value(ROUND_CEILING if symbol in (">=", "<") else ROUND_FLOOR))
    if symbol in ("==", "!=") and whole != bound:
        return np.full(len(values), symbol == "!=")
    return np.asarray(_OPERATORS[symbol](values, whole), dtype=bool)
