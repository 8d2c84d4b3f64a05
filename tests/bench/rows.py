"""One line of the bench's table, and interleaved timing."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

Thunk = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """A figure of ours beside a peer's, both from one process.

    Attributes:
        section: the part of the bench that measured it, as in ``ONLY``.
        what: what of ours was measured.
        against: the peer.
        data: the log, or what else it was measured on.
        ours: our figure, in ``unit``.
        peer: the peer's figure, in ``unit``.
        unit: of both figures.
        ratio: the quotient that ``reach`` speaks of; None if it was not measured.
        better: "higher" or "lower", the good direction of the ratio.
        reach: the ratio aimed at, or None for a line that informs.
        repetitions: interleaved repetitions behind the medians.
        note: what a reader must know to judge the figure, or why there is none.
    """

    section: str
    what: str
    against: str
    data: str
    ours: float | None = None
    peer: float | None = None
    unit: str = ""
    ratio: float | None = None
    better: str = "higher"
    reach: float | None = None
    repetitions: int = 1
    note: str = ""

    @property
    def is_reached(self) -> bool | None:
        """Whether the ratio is as good as ``reach``; None if there is no ratio or no reach."""
        if self.reach is None or self.ratio is None:
            return None
        return self.ratio >= self.reach if self.better == "higher" else self.ratio <= self.reach

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "is_reached": self.is_reached}


def interleaved(
    repetitions: int,
    prepare: Mapping[str, Callable[[], Thunk]],
    *,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each candidate: first all once, then all again, and so on.

    Args:
        repetitions: timed runs of each.
        prepare: by name, a function that makes, outside the clock, what is to be timed.
        warm_up: run each once before timing.
        clock: wall clock; ``time.process_time`` for one thread on a machine that others use.
    """
    seconds: dict[str, list[float]] = {name: [] for name in prepare}
    for repetition in range(-int(warm_up), repetitions):
        for name, make in prepare.items():
            run = make()
            gc.collect()
            start = clock()
            run()
            elapsed = clock() - start
            if repetition >= 0:
                seconds[name].append(elapsed)
    return {name: statistics.median(values) for name, values in seconds.items()}
