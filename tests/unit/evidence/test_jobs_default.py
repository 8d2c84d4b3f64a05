"""How many runs fit a machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from fuxictr_loopfm.evidence.benchmark import jobs
from fuxictr_loopfm.evidence.benchmark.jobs import EVENT_BYTES, RUN_BYTES, fitting_jobs


@dataclass
class Entry:
    """What is read of an entry."""

    gpu: int = -1
    threads: int = 1
    experiment: Any = field(init=False)

    def __post_init__(self) -> None:
        keys = SimpleNamespace(threads=self.threads)
        self.experiment = SimpleNamespace(params={"gpu": self.gpu}, keys=keys)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the cores, and the memory in runs of 1,000 events."""

    def has(cores: int, runs: float) -> None:
        available = int(runs * (RUN_BYTES + 1_000 * EVENT_BYTES))
        monkeypatch.setattr(jobs, "_cores", lambda: cores)
        monkeypatch.setattr(jobs, "_available_bytes", lambda: available)

    return has


@pytest.mark.parametrize(
    ("cores", "runs", "entry", "expected"),
    [
        (8, 100, Entry(), 8),
        (8, 3.9, Entry(), 3),
        (8, 100, Entry(threads=3), 2),
        (1, 100, Entry(), 1),
        (8, 0.5, Entry(), 1),
        (8, 100, Entry(gpu=0), 1),
    ],
)
def test_cores_and_memory_bound_the_runs(
    machine: Any, cores: int, runs: float, entry: Any, expected: int
) -> None:
    machine(cores, runs)
    assert fitting_jobs([entry], 1_000) == expected


def test_this_machine_has_cores_and_memory() -> None:
    assert jobs._cores() >= 1
    assert jobs._available_bytes() > 0
