"""Checks of single values of FuxiCTR params, each returning what is wrong as a text, or None."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from fuxictr_loopfm.errors import did_you_mean
from fuxictr_loopfm.files.scalars import meant_number, meant_text
from fuxictr_loopfm.prepared.parts import is_integer

Check = Callable[[Any], "str | None"]

_WEIGHT = r"\s*[+]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*"
_REGULARIZER = re.compile(rf"l[12]\({_WEIGHT}\)|l1_l2\({_WEIGHT},{_WEIGHT}\)")
_BOOLEANS = {"true", "false", "yes", "no", "on", "off"}


def whole(low: int, high: int | None = None) -> Check:
    """A whole number within bounds."""

    def check(value: Any) -> str | None:
        if not is_integer(value):
            return f"expected a whole number, found {value!r}{meant_number(value)}"
        if value < low or (high is not None and value > high):
            expected = f"{low} or more" if high is None else f"{low} to {high}"
            return f"expected {expected}, found {value}"
        return None

    return check


def is_boolean(value: Any) -> str | None:
    """True or false, not their names."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return f"expected true or false, found the text {value!r}; write it without quotes"
    return f"expected true or false, found {value!r}"


def is_positive(value: Any) -> str | None:
    """A finite number above 0."""
    if is_number(value) and value > 0:
        return None
    return f"expected a number above 0, found {value!r}{meant_number(value)}"


def one_of(*known: str) -> Check:
    """One of a few words."""

    def check(value: Any) -> str | None:
        if value in known:
            return None
        hint = meant_text(value) or did_you_mean(str(value), known)
        return f"expected one of {list(known)}, found {value!r}{hint}"

    return check


def is_text(value: Any) -> str | None:
    """A text, for a name or a path."""
    if isinstance(value, str) and value:
        return None
    return f"expected a name, found {value!r}{meant_text(value)}"


def is_regularizer(value: Any) -> str | None:
    """What FuxiCTR's ``get_regularizer`` reads; it takes any whole number for none at all."""
    if isinstance(value, str):
        if _REGULARIZER.fullmatch(value):
            return None
        expected = "a number, l1(x), l2(x) or l1_l2(x,y)"
        return f"expected {expected}, found {value!r}{meant_number(value)}"
    if not is_number(value) or value < 0:
        return f"expected 0 or a number above it, found {value!r}"
    if is_integer(value) and value != 0:
        return (
            f"expected a number with a point, found {value}; write {value}.0: FuxiCTR takes a "
            "whole number for no regularizer"
        )
    return None


def is_share(value: Any) -> str | None:
    """A dropout, or a list with one for each layer."""
    for each in value if isinstance(value, (list, tuple)) else [value]:
        if each is not None and not (is_number(each) and 0 <= each < 1):
            return f"expected a share from 0 to below 1, found {each!r}{meant_number(each)}"
    return None


def is_number(value: Any) -> bool:
    """True for a finite int or float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
