"""Which run records belong into one row, and which of them may stand in one table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fuxictr_loopfm.config.identity import compared_config
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files import atomic
from fuxictr_loopfm.records.record import RunRecord


class RunGroup(NamedTuple):
    """The runs of one configuration by seed, and the encoder text that tells it apart."""

    encoder: str
    runs: dict[int, RunRecord]

    @property
    def run(self) -> RunRecord:
        """One of the runs, for what all of them share."""
        return next(iter(self.runs.values()))

    @property
    def place(self) -> tuple[str, str]:
        """(data set, model): rows of one place stand in one table."""
        return self.run.dataset_id, self.run.model


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
