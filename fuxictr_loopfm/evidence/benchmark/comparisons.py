"""Intervals for the differences on a board, from the test predictions kept beside its records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.analysis.intervals import Resampled, UserBootstrap, differences
from fuxictr_loopfm.evidence.benchmark.runner import predictions_path
from fuxictr_loopfm.evidence.leaderboard.groups import RunGroup, group_runs
from fuxictr_loopfm.evidence.leaderboard.standing import references
from fuxictr_loopfm.records.comparison import (
    Comparison,
    arm_mark,
    read_comparisons,
    write_comparisons,
)
from fuxictr_loopfm.records.record import RunRecord


def compare(records: Sequence[RunRecord], folder: Path) -> list[Comparison]:
    """Compare every row of a board with ``base`` and with the best of the group above it.

    What was compared before is not computed again. The result is written into ``folder``, beside
    the records.

    Args:
        records: of one data set, whose test predictions are in ``folder``.
        folder: of the records.
    """
    known = {(each.first, each.second): each for each in read_comparisons([folder])}
    found: dict[tuple[str, str], Comparison] = {}
    arms = _Arms(folder)
    for first, second in _pairs(group_runs(records)):
        seeds = sorted(set(first.runs) & set(second.runs))
        if not seeds:
            continue
        key = arm_mark(first.runs.values()), arm_mark(second.runs.values())
        found[key] = known[key] if key in known else arms.compared(first, second, seeds)
    # Those of other runs of the folder stay.
    everything = list({**known, **found}.values())
    write_comparisons(folder, everything)
    return everything


def _pairs(groups: Sequence[RunGroup]) -> Iterator[tuple[RunGroup, RunGroup]]:
    for group in groups:
        others = references(group, groups)
        yield from ((group, other) for other in _distinct(others) if other is not group)


def _distinct(groups: Iterable[RunGroup | None]) -> list[RunGroup]:
    return list({id(group): group for group in groups if group is not None}.values())


class _Arms:
    """Resampled metrics of arms, each computed once; all arms of a data set share the resamples."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bootstrap: UserBootstrap | None = None
        self._found: dict[tuple[str, tuple[int, ...]], Resampled] = {}

    def compared(self, first: RunGroup, second: RunGroup, seeds: Sequence[int]) -> Comparison:
        """The difference over the seeds that both have."""
        values = differences(self._resampled(first, seeds), self._resampled(second, seeds))
        assert self._bootstrap is not None
        names = [f"{g.run.method} {g.encoder}".strip() for g in (first, second)]
        return Comparison(
            first=arm_mark(first.runs.values()),
            second=arm_mark(second.runs.values()),
            names=(names[0], names[1]),
            seeds=tuple(seeds),
            metrics={name: list(estimate) for name, estimate in values.items()},
            users=self._bootstrap.users,
            rows=self._bootstrap.rows,
            resamples=self._bootstrap.n_boot,
            resampling_seed=self._bootstrap.seed,
        )

    def _resampled(self, group: RunGroup, seeds: Sequence[int]) -> Resampled:
        key = arm_mark(group.runs.values()), tuple(seeds)
        if key not in self._found:
            kept = [self._predictions(group.runs[seed]) for seed in seeds]
            if self._bootstrap is None:
                self._bootstrap = UserBootstrap(kept[0]["y"], kept[0]["user"])
            scores = np.stack([each["p"] for each in kept])
            grouped = np.stack([each.get("p_grouped", each["p"]) for each in kept])
            self._found[key] = self._bootstrap.of(scores, grouped)
        return self._found[key]

    def _predictions(self, run: RunRecord) -> dict[str, NDArray[np.float32]]:
        with np.load(predictions_path(self._folder, run), allow_pickle=False) as file:
            return dict(file)
