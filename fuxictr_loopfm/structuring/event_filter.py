"""Which logged events may enter a history, for example watched videos only."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import ConfigError

if TYPE_CHECKING:
    from fuxictr_loopfm.events import PreparedDataset

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FILTER = re.compile(r"\s*([^\s=!<>]+)\s*(==|!=|>=|<=|>|<)\s*(\S.*?)\s*")


def matching_rows(prepared: PreparedDataset, text: str) -> NDArray[np.bool_]:
    """(N,) True where the event passes the filter.

    Args:
        prepared: the event log.
        text: ``column operator value``; ``label`` stands for the label column, whose value is
            known only after ``loopfm_label_delay_seconds``.
    Raises:
        ConfigError: the text is no filter, or its value does not fit the column.
        DataError: there is no such column.
    """
    match = _FILTER.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"loopfm_event_filter: expected 'column operator value' with one of "
            f"{list(_OPERATORS)}, for example 'label == 1', found {text!r}"
        )
    column, symbol, value = match.groups()
    if column == prepared.spec.label:
        raise ConfigError(
            f"loopfm_event_filter: expected 'label' for the label column, found {column!r}; the "
            "name label makes events wait for loopfm_label_delay_seconds"
        )
    values = prepared.label if column == "label" else prepared.array(column)
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
