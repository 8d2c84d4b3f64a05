"""A log whose labels are coins, runs of every method on it, and what chance allows them.

Both impressions of a page view (same user, same second) share one coin. So a history that lets in
what happens at the sample's own time tells the label, and one that does not tells nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fuxictr_loopfm.evidence.methods import DEFAULT_METHODS, TEACHER, method_slug
from fuxictr_loopfm.prepared.dataset import write_prepared
from fuxictr_loopfm.runs.vertical import run_vertical
from fuxictr_loopfm.structuring import as_of
from tests.integration import planted

TEST_PERIOD = planted.CHUNKS
# Of the benchmark, and one that also logs what the teacher was trained on.
CANARIES: dict[str, dict[str, Any]] = {
    **{method: {} for method in DEFAULT_METHODS if method != TEACHER},
    "KD+LoopFM+label, backfill": {"loopfm_backfill": True},
}


@dataclass(frozen=True)
class Chance:
    """AUC of some runs of a method, and its standard deviation if they know nothing."""

    auc: float
    sd: float

    @property
    def z(self) -> float:
        """How far from chance, in standard deviations."""
        return (self.auc - 0.5) / self.sd


def noise_frame(seed: int, events: int) -> pd.DataFrame:
    """Rows in time order, a third of them the second impression of a page view."""
    random = np.random.default_rng(seed)
    user = random.integers(0, planted.USERS, events)
    item = random.integers(0, planted.ITEMS, events)
    pause = random.integers(1, 4, events) * 60
    user[1::3], pause[1::3] = user[: len(user[1::3]) * 3 : 3], 0
    label = random.integers(0, 2, events)
    label[1::3] = label[: len(label[1::3]) * 3 : 3]
    time = planted.FIRST_SECOND + np.cumsum(pause)
    return pd.DataFrame(
        {
            "timestamp": time,
            "period": np.arange(events) // 3 * 3 * planted.CHUNKS // events + 1,
            "click": label.astype(np.int8),
            "user_id": [f"u{code}" for code in user],
            "item_id": [f"i{code}" for code in item],
            "genre": [f"g{code % planted.GENRES}" for code in item],
            "hour": [str(code) for code in time // 3600 % 24],
            "price": random.normal(size=events).astype(np.float32),
            "segment": [f"s{code}" for code in random.integers(0, 3, events)],
        }
    )


def null_sd(frame: pd.DataFrame) -> float:
    """Standard deviation of the AUC of the test period for a model that knows nothing.

    A page view counts once: its impressions share a coin, so the second adds no information.
    """
    views = frame[frame["period"] == TEST_PERIOD].drop_duplicates(["user_id", "timestamp"])
    positives = int(views["click"].sum())
    negatives = len(views) - positives
    return math.sqrt((positives + negatives + 1) / (12 * positives * negatives))


class NoiseLoop:
    """A prepared log of coins and the configurations to run on it."""

    def __init__(self, folder: Path, seed: int, events: int) -> None:
        self.frame = noise_frame(seed, events)
        self.sd = null_sd(self.frame)
        sequences = {"item_his": planted.item_histories(self.frame)}
        prepared = write_prepared(folder / "prepared", planted.log_spec(), self.frame, sequences)
        self._config = planted.write_configs(folder / "configs", folder, prepared.folder)

    def auc(self, canary: str) -> float:
        """Train one method, once through the log, and test it."""
        threads = torch.get_num_threads()
        try:
            expid = method_slug(canary.split(",")[0])
            experiment, workspace = planted.load(self._config, expid, **CANARIES[canary])
            record, _, _ = run_vertical(experiment, workspace, model_name="DeepFM", command="noise")
        finally:
            torch.set_num_threads(threads)
        return float(record.metrics["AUC"])


def chance_of(loops: list[NoiseLoop], canary: str) -> Chance:
    """A method's mean AUC over independent logs."""
    found = [loop.auc(canary) for loop in loops]
    sd = math.sqrt(sum(loop.sd**2 for loop in loops)) / len(loops)
    return Chance(float(np.mean(found)), sd)


@contextmanager
def leaking(ahead: int) -> Iterator[None]:
    """Histories that see ``ahead`` seconds of what they must not: 1 is ``<=`` instead of ``<``."""
    with pytest.MonkeyPatch.context() as patch:
        minus = as_of._minus
        patch.setattr(as_of, "_minus", lambda time, amount: minus(time, amount) + ahead)
        yield
