"""What a section of the torture is given, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Profile:
    """How hard to try.

    Attributes:
        folder: an empty folder of the section's own.
        long: True for ``make torture``, False for the tests.
        seed: of everything random; the report states it.
    """

    folder: Path
    long: bool = False
    seed: int = 20261122

    def pick(self, short: int, long: int) -> int:
        """A number for the tests, and one for the torture."""
        return long if self.long else short


@dataclass
class Section:
    """What was tried, and what got through.

    Attributes:
        title: of its chapter in the report.
        tried: how often, by what.
        survivors: what should have been found or finished and was not, a line each.
        notes: further lines for the report.
    """

    title: str
    tried: dict[str, int] = field(default_factory=dict)
    survivors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, what: str, number: int = 1) -> None:
        """Note that something was tried."""
        self.tried[what] = self.tried.get(what, 0) + number
