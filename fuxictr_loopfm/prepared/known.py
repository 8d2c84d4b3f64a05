"""When the value of a side column is known: with its impression, or some time after it.

Side columns are known at the impression (a place), or are an outcome of it (how long it was looked
at). A filter on an outcome must not let an event into a history before its outcome is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr_loopfm.errors import did_you_mean
from fuxictr_loopfm.prepared.parts import short

AT_IMPRESSION = "at_impression"
AFTER_LABEL_DELAY = "after_label_delay"
AFTER_SECONDS = "after_seconds"
# Sums of such times in microseconds fit 64 bits.
MOST_SECONDS = 9e12


def known_problems(where: str, value: object) -> list[str]:
    """Why ``value`` does not say when a side column is known."""
    if value in (AT_IMPRESSION, AFTER_LABEL_DELAY):
        return []
    if isinstance(value, Mapping) and list(value) == [AFTER_SECONDS]:
        seconds = value[AFTER_SECONDS]
        number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if number and 0 <= seconds <= MOST_SECONDS:
            return []
    expected = f"{AT_IMPRESSION}, {AFTER_LABEL_DELAY} or {{{AFTER_SECONDS}: N}}"
    return [f"{where}: expected {expected} with N from 0 to {MOST_SECONDS:g}, found {short(value)}"]


def mapping_problems(known: object, side_columns: Sequence[str]) -> list[str]:
    """Everything wrong with ``known`` of a data set that has ``side_columns``."""
    if known is None:
        return []
    if not isinstance(known, Mapping):
        return [f"known: expected a mapping of side columns, found {short(known)}"]
    found = []
    for name, value in known.items():
        if name not in side_columns:
            found.append(
                f"known: {short(name)} is no side column{did_you_mean(name, side_columns)}"
            )
        found += known_problems(f"known: {short(name)}", value)
    return found


def seconds_until_known(rule: Any, label_delay: float) -> float:
    """How many seconds after its impression a value is known.

    Args:
        rule: one that has no :func:`known_problems`.
        label_delay: seconds until the label is known.
    """
    if isinstance(rule, Mapping):
        return float(rule[AFTER_SECONDS])
    return 0.0 if rule == AT_IMPRESSION else label_delay
