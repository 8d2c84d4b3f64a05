"""Frozen, validated descriptions of a history: what the loader gathers and under which rule."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fuxictr_loopfm.errors import ConfigError

UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ordinal": 1}


@dataclass(frozen=True)
class SequenceSpec:
    """The causal rule's parameters, in the time unit of the log.

    Attributes:
        max_len: the newest events kept per sample.
        delay: an event is usable only when it is older than this (logging latency).
        window: an event is usable only when it is at most this old; None is unbounded.
        label_delay: a past label is known only when its event is older than this.
    """

    max_len: int
    delay: int = 0
    window: int | None = None
    label_delay: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not 1 <= self.max_len <= 65_535:
            problems.append(f"max_len: expected 1 to 65535, found {self.max_len}")
        for name in ("delay", "label_delay"):
            if getattr(self, name) < 0:
                problems.append(f"{name}: expected 0 or more, found {getattr(self, name)}")
        if self.window is not None and self.window <= self.delay:
            problems.append(
                f"window: expected more than the delay {self.delay}, found {self.window}"
            )
        if problems:
            raise ConfigError(problems)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary with the four fields."""
        return asdict(self)
