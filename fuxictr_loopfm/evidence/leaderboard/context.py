"""What a leaderboard says beside its numbers: protocol, machine, commands and remarks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fuxictr_loopfm.evidence.leaderboard.groups import (
    RunGroup,
    group_runs,
    newest_runs,
    require_comparable,
)
from fuxictr_loopfm.evidence.leaderboard.standing import period_note, teacher_note
from fuxictr_loopfm.evidence.methods import BASE
from fuxictr_loopfm.records.record import RunRecord


@dataclass(frozen=True)
class Context:
    """What must be said beside the numbers. Every tuple lists distinct values, oldest run first."""

    protocol: str
    splits: tuple[str, ...]
    environments: tuple[str, ...]
    commands: tuple[str, ...]
    seeds: tuple[int, ...]
    teacher_seeds: tuple[int, ...]
    period: tuple[str, str]
    notes: tuple[str, ...]


def describe(records: Sequence[RunRecord]) -> Context:
    """Protocol, environments, commands and remarks for the leaderboard of ``records``.

    Raises:
        DataError: see ``require_comparable``.
    """
    require_comparable(records)
    runs, notes = newest_runs(records)
    return Context(
        protocol=runs[0].protocol,
        splits=_distinct(f"{run.dataset_id}: {run.split}" for run in runs if run.split),
        environments=_distinct(environment_text(run.environment) for run in runs),
        commands=_distinct(run.command for run in runs if run.command),
        seeds=tuple(sorted({run.seed for run in runs})),
        teacher_seeds=_teacher_seeds(runs),
        period=(runs[0].started, runs[-1].started),
        notes=(*notes, *_mixture_notes(runs), *_base_notes(group_runs(runs)), *_teachers(runs)),
    )


def environment_text(environment: Mapping[str, Any]) -> str:
    """One line such as "Python 3.11.7, torch 2.13.0, some processor (2 cores), commit 1a2b"."""
    parts = [f"Python {environment.get('python', '?')}"]
    for name, value in environment.items():
        if name not in ("python", "cpu", "cores", "git_commit") and value:
            parts.append(f"{name} {value}")
    if environment.get("cpu"):
        parts.append(f"{environment['cpu']} ({environment.get('cores', '?')} cores)")
    if environment.get("git_commit"):
        parts.append(f"commit {environment['git_commit']}")
    return ", ".join(parts)


def _teacher_seeds(runs: Iterable[RunRecord]) -> tuple[int, ...]:
    """Seeds of the teachers, as far as the records note them."""
    noted = [run.repeat.get("teacher") for run in runs]
    seeds = {note["config"].get("seed") for note in noted if isinstance(note, Mapping)}
    return tuple(sorted(seed for seed in seeds if isinstance(seed, int)))


def _teachers(runs: Iterable[RunRecord]) -> list[str]:
    """How good the teachers are, and where nothing can be expected of one."""
    by_place: dict[tuple[str, str], list[RunGroup]] = defaultdict(list)
    for group in group_runs(runs):
        by_place[group.place].append(group)
    return [
        f"{dataset_id}, {model}: {note}"
        for (dataset_id, model), same in by_place.items()
        for note in (period_note(same), teacher_note(same))
        if note is not None
    ]


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _mixture_notes(records: Iterable[RunRecord]) -> list[str]:
    prints: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for run in records:
        for kind in ("data", "code"):
            prints[run.dataset_id, run.model][kind].add(run.fingerprints[kind])
    return [
        f"{dataset_id}, {model}: the runs come from {len(found)} versions of the {kind}; "
        "run all of them again for a strict comparison."
        for (dataset_id, model), kinds in prints.items()
        for kind, found in kinds.items()
        if len(found) > 1
    ]


def _base_notes(groups: Iterable[RunGroup]) -> list[str]:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for group in groups:
        run = next(iter(group.runs.values()))
        counts[run.dataset_id, run.model] += run.method == BASE
    notes = []
    for (dataset_id, model), count in counts.items():
        if count > 1:
            notes.append(
                f"{dataset_id}, {model}: {count} configurations of {BASE}; differences are "
                "against the best of them."
            )
    return notes
