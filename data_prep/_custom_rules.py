"""The parts of a spec file of ``custom.py``: time, label, filter, side columns, periods."""

from __future__ import annotations

import math
import zoneinfo
from dataclasses import dataclass
from typing import Any

from fuxictr_loopfm.errors import did_you_mean
from fuxictr_loopfm.prepared.known import AFTER_LABEL_DELAY, known_problems
from fuxictr_loopfm.prepared.parts import MAX_PERIODS, is_integer

TIME_UNITS = ("s", "ms", "us", "iso", "ordinal")


@dataclass(frozen=True)
class TimeRule:
    """Where the time is and what it counts; ``iso`` is ISO 8601 text or a datetime column."""

    column: str
    unit: str

    def problems(self) -> list[str]:
        """What is wrong with this part."""
        if self.unit in TIME_UNITS:
            return []
        return [f"time: unit: expected one of {list(TIME_UNITS)}, found {self.unit!r}"]


@dataclass(frozen=True)
class LabelRule:
    """A 0/1 column, or a number that counts as 1 from ``at_least`` up."""

    column: str
    at_least: float | None = None
    name: str = "label"

    def problems(self) -> list[str]:
        """What is wrong with this part."""
        if self.at_least is None or is_number(self.at_least):
            return []
        return [f"label: at_least: expected a number, found {self.at_least!r}"]


@dataclass(frozen=True)
class Scalar:
    """One value of a ``keep`` rule.

    Attributes:
        value: what YAML reads.
        written: how it stands in the file if it has no quotes, else None.
    """

    value: Any
    written: str | None = None

    @property
    def text(self) -> str:
        """The value as text, as it is written."""
        return str(self.value) if self.written is None else self.written

    @property
    def shown(self) -> str:
        """The value for a message, with what YAML makes of it where that is something else."""
        if self.written is None or str(self.value) == self.written:
            return repr(self.value)
        return f"{self.written}, which YAML reads as {self.value!r} because it has no quotes"


@dataclass(frozen=True)
class KeepRule:
    """Rows stay if ``column`` satisfies every condition that is given."""

    column: str
    equals: Scalar | None = None
    one_of: tuple[Scalar, ...] | None = None
    at_least: float | None = None
    below: float | None = None

    @property
    def values(self) -> tuple[Scalar, ...]:
        """The values of which the column must have one; empty if there is no such condition."""
        return (self.equals,) if self.equals is not None else self.one_of or ()

    @property
    def shown(self) -> str:
        """The conditions for a message."""
        parts = ["equals " + " or ".join(value.shown for value in self.values)] * bool(self.values)
        for key in ("at_least", "below"):
            value = getattr(self, key)
            parts += [f"{key} {value}"] * (value is not None)
        return ", ".join(parts)

    def problems(self) -> list[str]:
        """What is wrong with this part."""
        found = []
        if (self.equals, self.one_of, self.at_least, self.below) == (None,) * 4:
            found.append(
                f"keep: {self.column!r}: expected one of equals, one_of, at_least and below"
            )
        if self.equals is not None and self.one_of is not None:
            found.append(f"keep: {self.column!r}: expected equals or one_of, found both")
        if self.one_of is not None and not (isinstance(self.one_of, tuple) and self.one_of):
            found.append(f"keep: {self.column!r}: one_of: expected a list, found {self.one_of!r}")
        for value in self.values if isinstance(self.one_of, (tuple, type(None))) else ():
            if isinstance(value.value, (list, tuple, dict)):
                found.append(f"keep: {self.column!r}: expected a value, found {value.value!r}")
        for key in ("at_least", "below"):
            value = getattr(self, key)
            if value is not None and not is_number(value):
                found.append(f"keep: {self.column!r}: {key}: expected a number, found {value!r}")
        return found


@dataclass(frozen=True)
class SideColumn:
    """A column stored with each event, and when its value is known."""

    column: str
    known: Any = AFTER_LABEL_DELAY

    def problems(self) -> list[str]:
        """What is wrong with this part."""
        return known_problems(f"side_columns: {self.column!r}: known", self.known)


@dataclass(frozen=True)
class PeriodRule:
    """``kind: day`` with a time zone, or ``kind: chunks`` with a count."""

    kind: str
    timezone: str | None = None
    count: int | None = None

    def problems(self) -> list[str]:
        """What is wrong with this part."""
        if self.kind == "chunks":
            if is_integer(self.count) and self.timezone is None and self.count <= MAX_PERIODS:
                return []
            expected = f"count, a whole number of at most {MAX_PERIODS}, and no timezone"
            return [f"periods: kind chunks takes {expected}"]
        if self.kind != "day":
            return [f"periods: kind: expected 'day' or 'chunks', found {self.kind!r}"]
        if self.count is not None or not isinstance(self.timezone, str):
            return ["periods: kind day takes timezone, such as Asia/Shanghai, and no count"]
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            known = sorted(zoneinfo.available_timezones())
            hint = did_you_mean(self.timezone, known)
            return [f"periods: timezone: unknown time zone {self.timezone!r}{hint}"]
        return []


@dataclass(frozen=True)
class HistoryRule:
    """A teacher feature: the user's newest ``max_len`` items strictly before each event."""

    name: str = "item_history"
    max_len: int = 50


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite int or float and no bool."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 1 << 63
