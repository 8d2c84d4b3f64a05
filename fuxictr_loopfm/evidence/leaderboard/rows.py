"""From run records to the rows of a leaderboard: pure functions, nothing typed in by hand."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr

from fuxictr_loopfm.config.identity import compared_config
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.methods import BASE, METHODS
from fuxictr_loopfm.files import atomic
from fuxictr_loopfm.records.record import METRICS, RunRecord

COLUMNS = (
    "dataset_id", "model", "method", "encoder", "seeds",
    *(name for metric in METRICS for name in (metric, f"{metric}_std")),
    "params", "bytes_per_event", "train_seconds",
)  # fmt: skip
_ORDER: dict[str, float] = {method: place for place, method in enumerate(METHODS)}
# Those of earlier releases stand before the ones that took their place.
_ORDER |= {"raw_seq": _ORDER["raw"] - 0.5, "raw_seq+label": _ORDER["raw"] - 0.4}
# Differences of AUC that agree to rounding have no variance to test with.
_SAME = 1e-12


class Comparison(NamedTuple):
    """A row against ``base`` of the same model and data set, paired by seed.

    Attributes:
        seeds: how many seeds both have.
        difference: mean difference of AUC over those seeds.
        p: two-sided p value of the paired t-test; None with one seed or without any variance.
    """

    seeds: int
    difference: float
    p: float | None


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
    warnings: tuple[str, ...] = ()


class RunGroup(NamedTuple):
    """The runs of one configuration by seed, and the encoder text that tells it apart."""

    encoder: str
    runs: dict[int, RunRecord]


def summarise(records: Sequence[RunRecord]) -> list[Row]:
    """One row per configuration, ordered by data set, model, method and encoder.

    Of several runs of one configuration and seed the newest counts (``describe`` says so).

    Raises:
        DataError: see ``require_comparable``.
    """
    require_comparable(records)
    groups = group_runs(records)
    bases = _best_bases(groups)
    rows = [_row(group, bases) for group in groups]
    return sorted(rows, key=_position)


def sections(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of each (data set, model), by AUC descending; equal AUCs keep the methods' order."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.dataset_id, row.model].append(row)
    return {
        key: sorted(section, key=lambda row: (-(row.mean["AUC"] or 0.0), _position(row)))
        for key, section in found.items()
    }


def require_comparable(records: Sequence[RunRecord]) -> None:
    """Refuse records whose numbers may not stand in one table.

    Raises:
        DataError: no records, or records of two protocols, or of one data set in two splits or
            states.
    """
    if not records:
        raise DataError("leaderboard: expected run records, found none; run a benchmark first")
    protocols = sorted({run.protocol for run in records})
    if len(protocols) > 1:
        raise DataError(
            f"leaderboard, protocol: expected one, found {', '.join(protocols)}; numbers of "
            "different protocols are not comparable: make one leaderboard for each"
        )
    by_dataset: dict[str, list[RunRecord]] = defaultdict(list)
    for run in records:
        by_dataset[run.dataset_id].append(run)
    for dataset_id, runs in by_dataset.items():
        data = sorted({run.fingerprints["data"] for run in runs})
        if len(data) > 1:
            raise DataError(
                f"leaderboard, data of {dataset_id}: expected one fingerprint, found "
                f"{', '.join(data)}: the data set was prepared anew in between. Run the older ones "
                "again, or make one leaderboard for each"
            )
        splits = sorted({run.split for run in runs})
        if len(splits) > 1:
            raise DataError(
                f"leaderboard, split of {dataset_id}: expected one, found "
                f"{' / '.join(map(repr, splits))}; make one leaderboard for each"
            )


def newest_runs(records: Iterable[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """The newest run of each configuration and seed, oldest first, and a remark per run dropped."""
    kept: dict[tuple[Any, ...], RunRecord] = {}
    dropped: dict[tuple[Any, ...], int] = defaultdict(int)
    for run in sorted(records, key=lambda run: run.started_at):
        name = (run.dataset_id, run.model, run.method, run.encoder, run.seed)
        key = (*name, atomic.fingerprint(compared_config(run.config)))
        older = kept.pop(key, run)
        dropped[key] += older != run
        kept[key] = run
    notes = [
        f"{key[0]}, {key[1]}, {' '.join(filter(None, key[2:4]))}, seed {key[4]}: {count + 1} runs "
        f"of the same configuration, the newest ({kept[key].started}) counts."
        for key, count in dropped.items()
        if count
    ]
    return list(kept.values()), notes


def group_runs(records: Iterable[RunRecord]) -> list[RunGroup]:
    """The newest runs by configuration; only the seed differs within a group."""
    named: dict[tuple[str, ...], dict[str, dict[int, RunRecord]]] = {}
    for run in newest_runs(records)[0]:
        name = (run.dataset_id, run.model, run.method, run.encoder)
        by_config = named.setdefault(name, {})
        by_config.setdefault(atomic.fingerprint(compared_config(run.config)), {})[run.seed] = run
    groups = []
    for (*_, encoder), by_config in named.items():
        variants = list(by_config.values())
        texts = _differences(
            [compared_config(next(iter(runs.values())).config) for runs in variants]
        )
        for runs, text in zip(variants, texts, strict=True):
            groups.append(RunGroup(f"{encoder} {text}".strip(), runs))
    return groups


def _differences(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each configuration its values of the keys in which not all agree: "lr=0.1 seed=2"."""
    shown = [{key: _value_text(value) for key, value in config.items()} for config in configs]
    keys = sorted(set().union(*shown))
    differing = [key for key in keys if len({config.get(key) for config in shown}) > 1]
    return [" ".join(f"{key}={config.get(key, 'unset')}" for key in differing) for config in shown]


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if len(present) == len(values) else None


def _best_bases(groups: Iterable[RunGroup]) -> dict[tuple[str, str], dict[int, RunRecord]]:
    """The runs of ``base`` per (data set, model); of several configurations the best by AUC."""
    best: dict[tuple[str, str], tuple[float, dict[int, RunRecord]]] = {}
    for group in groups:
        run = next(iter(group.runs.values()))
        if run.method == BASE:
            mean = statistics.fmean(item.metrics["AUC"] for item in group.runs.values())
            key = (run.dataset_id, run.model)
            if key not in best or mean > best[key][0]:
                best[key] = (mean, group.runs)
    return {key: runs for key, (_, runs) in best.items()}


def _row(group: RunGroup, bases: Mapping[tuple[str, str], dict[int, RunRecord]]) -> Row:
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
    base = bases.get((first.dataset_id, first.model), {})
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
        against_base=_compare(group.runs, base) if base is not group.runs else None,
        warnings=_warnings(runs),
    )


def _warnings(runs: Iterable[RunRecord]) -> tuple[str, ...]:
    """Each warning once, after the seeds it is about."""
    seeds: dict[str, list[int]] = defaultdict(list)
    for run in runs:
        for warning in run.warnings:
            seeds[warning].append(run.seed)
    return tuple(f"seed {', '.join(map(str, found))}: {text}" for text, found in seeds.items())


def _compare(runs: Mapping[int, RunRecord], base: Mapping[int, RunRecord]) -> Comparison | None:
    shared = sorted(set(runs) & set(base))
    if not shared:
        return None
    differences = np.array(
        [runs[seed].metrics["AUC"] - base[seed].metrics["AUC"] for seed in shared]
    )
    mean, count = float(differences.mean()), len(shared)
    if count == 1 or np.ptp(differences) < _SAME:
        return Comparison(count, mean, None)
    t = mean / (float(differences.std(ddof=1)) / math.sqrt(count))
    return Comparison(count, mean, float(2 * stdtr(count - 1, -abs(t))))


def _position(row: Row) -> tuple[Any, ...]:
    known = _ORDER.get(row.method, len(_ORDER))
    # Split into text and numbers, so that max_len=5 comes before max_len=10.
    parts = re.split(r"(\d+(?:\.\d+)?)", row.encoder)
    natural = [(float(part) if index % 2 else 0.0, part) for index, part in enumerate(parts)]
    return row.dataset_id, row.model, known, row.method, natural
