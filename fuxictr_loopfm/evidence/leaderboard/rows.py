"""From run records to the rows of a leaderboard: pure functions, nothing typed in by hand."""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr

from fuxictr_loopfm.analysis.resampling import Estimate
from fuxictr_loopfm.evidence.leaderboard.groups import RunGroup, group_runs, require_comparable
from fuxictr_loopfm.evidence.leaderboard.reading import what_it_reads
from fuxictr_loopfm.evidence.leaderboard.standing import above, best
from fuxictr_loopfm.evidence.methods import BASE, GROUPS, METHODS, group_of
from fuxictr_loopfm.records import comparison
from fuxictr_loopfm.records.record import METRICS, RunRecord

COLUMNS = (
    "dataset_id", "model", "group", "method", "encoder", "reads", "seeds",
    *(name for metric in METRICS for name in (metric, f"{metric}_std")),
    *(f"dAUC_{other}{end}" for other in ("base", "above") for end in ("", "_low", "_high")),
    "above",
    "params", "bytes_per_event", "train_seconds",
)  # fmt: skip
_ORDER: dict[str, float] = {method: place for place, method in enumerate(METHODS)}
# Those of earlier releases stand before the ones that took their place.
_ORDER |= {"raw_seq": _ORDER["raw"] - 0.5, "raw_seq+label": _ORDER["raw"] - 0.4}
# Differences of AUC that agree to rounding have no variance to test with.
_SAME = 1e-12


class Comparison(NamedTuple):
    """A row against another one of the same model and data set, paired by seed.

    Attributes:
        seeds: how many seeds both have.
        difference: mean difference of AUC over those seeds.
        p: two-sided p value of the paired t-test over them; None with one seed or without any
            variance.
        interval: the difference with its 95% interval over users; None where none was recorded.
        other: the other row's method.
    """

    seeds: int
    difference: float
    p: float | None
    interval: Estimate | None = None
    other: str = BASE

    @property
    def holds_zero(self) -> bool:
        """True if the interval does, so that no difference was shown."""
        return self.interval is not None and self.interval.low <= 0 <= self.interval.high


@dataclass(frozen=True)
class Row:
    """All seeds of one configuration.

    Attributes:
        encoder: history encoder, followed by the keys that tell apart rows that share it.
        seeds: the seeds, ascending.
        mean: per metric the mean over the seeds, None where a run lacks the metric.
        std: per metric the sample standard deviation (ddof 1), None with one seed.
        train_seconds: mean over the seeds.
        against_base: None for ``base`` itself and where no seed is shared with it.
        against_above: the same against the best row of the nearest group above that has rows.
        group: what it needs at serving, a key of ``GROUPS``; "" for methods that no one grouped.
        reads: what it was given beside its features, in words.
        warnings: what the records say against their metrics, each with its seeds.
    """

    dataset_id: str
    model: str
    method: str
    encoder: str
    seeds: tuple[int, ...]
    mean: Mapping[str, float | None]
    std: Mapping[str, float | None]
    params: int
    bytes_per_event: float
    train_seconds: float
    against_base: Comparison | None
    against_above: Comparison | None = None
    group: str = ""
    reads: str = ""
    warnings: tuple[str, ...] = ()


Recorded = Mapping[tuple[str, str], comparison.Comparison]


def summarise(
    records: Sequence[RunRecord], comparisons: Iterable[comparison.Comparison] = ()
) -> list[Row]:
    """One row per configuration, ordered by data set, model, method and encoder.

    Of several runs of one configuration and seed the newest counts (``describe`` says so).

    Args:
        records: of the runs.
        comparisons: their recorded differences; those of other runs are passed over.

    Raises:
        DataError: see ``require_comparable``.
    """
    require_comparable(records)
    recorded = {(each.first, each.second): each for each in comparisons}
    by_place: dict[tuple[str, str], list[RunGroup]] = defaultdict(list)
    for group in group_runs(records):
        by_place[group.place].append(group)
    rows = [_row(group, same, recorded) for same in by_place.values() for group in same]
    return sorted(rows, key=_position)


def sections(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of each (data set, model): by group, then by AUC descending.

    Equal AUCs keep the methods' order; methods without a group come last.
    """
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.dataset_id, row.model].append(row)
    return {key: sorted(section, key=_standing) for key, section in found.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if len(present) == len(values) else None


def ranks(section: Sequence[Row]) -> list[int]:
    """Rank by AUC, from 1, of each row of a section, over all of its groups."""
    order = sorted(range(len(section)), key=lambda n: -(section[n].mean["AUC"] or 0.0))
    found = [0] * len(section)
    for rank, number in enumerate(order, start=1):
        found[number] = rank
    return found


def _standing(row: Row) -> tuple[Any, ...]:
    group = list(GROUPS).index(row.group) if row.group else len(GROUPS)
    return group, -(row.mean["AUC"] or 0.0), _position(row)


def _row(group: RunGroup, same: Sequence[RunGroup], recorded: Recorded) -> Row:
    seeds = tuple(sorted(group.runs))
    runs = [group.runs[seed] for seed in seeds]
    mean, std = {}, {}
    for metric in METRICS:
        values = [run.metrics.get(metric) for run in runs]
        mean[metric] = _mean(values)
        complete = [value for value in values if value is not None]
        whole = len(complete) == len(values) > 1
        std[metric] = statistics.stdev(complete) if whole else None
    first = runs[0]
    base = best([each for each in same if each.run.method == BASE])
    return Row(
        dataset_id=first.dataset_id,
        model=first.model,
        method=first.method,
        encoder=group.encoder,
        seeds=seeds,
        mean=mean,
        std=std,
        params=max(run.params for run in runs),
        bytes_per_event=max(run.bytes_per_event for run in runs),
        train_seconds=statistics.fmean(run.train_seconds for run in runs),
        against_base=_compare(group, base, recorded),
        against_above=_compare(group, above(group, same), recorded),
        group=group_of(first.method) or "",
        reads=what_it_reads(first),
        warnings=_warnings(runs),
    )


def _warnings(runs: Iterable[RunRecord]) -> tuple[str, ...]:
    """Each warning once, after the seeds it is about."""
    seeds: dict[str, list[int]] = defaultdict(list)
    for run in runs:
        for warning in run.warnings:
            seeds[warning].append(run.seed)
    return tuple(f"seed {', '.join(map(str, found))}: {text}" for text, found in seeds.items())


def _compare(group: RunGroup, other: RunGroup | None, recorded: Recorded) -> Comparison | None:
    if other is None or other is group:
        return None
    runs, base = group.runs, other.runs
    shared = sorted(set(runs) & set(base))
    if not shared:
        return None
    marks = comparison.arm_mark(runs.values()), comparison.arm_mark(base.values())
    found = recorded.get(marks)
    interval = None if found is None else Estimate(*found.metrics["AUC"])
    differences = np.array(
        [runs[seed].metrics["AUC"] - base[seed].metrics["AUC"] for seed in shared]
    )
    mean, count = float(differences.mean()), len(shared)
    p = None
    if count > 1 and np.ptp(differences) >= _SAME:
        t = mean / (float(differences.std(ddof=1)) / math.sqrt(count))
        p = float(2 * stdtr(count - 1, -abs(t)))
    return Comparison(count, mean, p, interval, other.run.method)


def _position(row: Row) -> tuple[Any, ...]:
    known = _ORDER.get(row.method, len(_ORDER))
    # Split into text and numbers, so that max_len=5 comes before max_len=10.
    parts = re.split(r"(\d+(?:\.\d+)?)", row.encoder)
    natural = [(float(part) if index % 2 else 0.0, part) for index, part in enumerate(parts)]
    return row.dataset_id, row.model, known, row.method, natural
