"""Values of a spec that YAML may read in another way than they were meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from _custom_rules import Scalar

Written = Mapping[tuple[Any, ...], str]
# Octal since YAML 1.1, and numbers to the base 60: 010 is 8 and 12:30 is 750.
_UNUSUAL = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+)")
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


def with_scalars(keep: Any, written: Written) -> Any:
    """``keep`` of a spec, the values it compares with as :class:`Scalar`."""
    if not isinstance(keep, list):
        return keep
    rules = []
    for number, rule in enumerate(keep):
        if isinstance(rule, dict):
            rule, at = dict(rule), ("keep", number)
            if rule.get("equals") is not None:
                rule["equals"] = Scalar(rule["equals"], written.get((*at, "equals")))
            if isinstance(rule.get("one_of"), list):
                rule["one_of"] = [
                    Scalar(value, written.get((*at, "one_of", place)))
                    for place, value in enumerate(rule["one_of"])
                ]
        rules.append(rule)
    return rules


def misread(spec: Mapping[str, Any], written: Written) -> list[str]:
    """What YAML takes for another number than it looks like, or for text though it is a number.

    Values that ``keep`` compares with are left to the types of their columns.
    """
    problems = []
    for at, text in written.items():
        compared = at[:1] == ("keep",) and at[2:3] in (("equals",), ("one_of",))
        value = _value(spec, at)
        where = ": ".join(str(part) for part in at)
        if compared or value is None:
            continue
        if isinstance(value, (int, float)) and _UNUSUAL.fullmatch(text):
            problems.append(
                f"{where}: YAML reads {text} as the number {value}; write that number, or "
                "put it in quotes if it is text"
            )
        elif isinstance(value, str) and _EXPONENT.fullmatch(text):
            problems.append(
                f"{where}: YAML reads {text} as text; write the number with a point and a sign, "
                "such as 1.0e+5, or put it in quotes if it is text"
            )
    return problems


def quote_hint(key: str, value: object, written: Written) -> str:
    """How to write the names under ``key`` that YAML does not read as text, for a message."""
    places = [(key, place) for place in range(len(value))] if isinstance(value, list) else [(key,)]
    items = value if isinstance(value, list) else [value]
    for at, item in zip(places, items, strict=True):
        if at in written and not isinstance(item, (str, list, dict)):
            return f"; YAML reads {written[at]} as {item!r}, put it in quotes if it is a name"
    return ""


def _value(spec: Any, at: tuple[Any, ...]) -> Any:
    for part in at:
        try:
            spec = spec[part]
        except (KeyError, IndexError, TypeError):
            return None
    return spec
