"""One attack: what is done with which file, and what the answer must name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attack:
    """An input made to harm, and the reader or command that gets it.

    Attributes:
        kind: chapter of the report.
        name: what is tried.
        run: reads it.
        names: what the refusal must name: the file, usually.
        harmless: True for what must go on working.
        untouched: a file that must still hold ``precious``.
    """

    kind: str
    name: str
    run: Callable[[], object]
    names: str = ""
    harmless: bool = False
    untouched: Path | None = None
