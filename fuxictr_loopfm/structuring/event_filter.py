"""Which logged events may enter a history, for example watched videos only."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
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


def reads_label(text: str) -> bool:
    """True if a filter is on the label, so that its events wait until that is known."""
    match = _FILTER.fullmatch(text)
    return match is not None and match.group(1) == LABEL


def _passes(
    column: str, symbol: str, value: str, values: np.ndarray[Any, Any]
) -> NDArray[np.bool_]:
    if values.dtype.kind in "iufb":
        try:
            return np.asarray(_OPERATORS[symbol](values, float(value)), dtype=bool)
        except ValueError:
            raise ConfigError(
                f"loopfm_event_filter: {column} is numeric: expected a number, found {value!r}"
            ) from None
    if symbol not in ("==", "!="):
        raise ConfigError(
            f"loopfm_event_filter: {column} is text: expected == or !=, found {symbol}"
        )
    return np.asarray(_OPERATORS[symbol](values.astype(str), value.strip("'\"")), dtype=bool)
