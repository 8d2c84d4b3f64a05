"""Event logs: a seeded synthetic one with a stated mix of history lengths, and a prepared one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.structuring.as_of import history_bounds
from fuxictr_loopfm.structuring.order import sort_order
from tests.bench.sorting import MAX_LEN

DAYS = 8
EVENTS_PER_USER = 25 / 1.06
# An event repeats the user and second of the one drawn before it, so pairs and runs are tied.
REPEATED = 0.123
MIX = (
    f"{DAYS} days of seconds; events / {EVENTS_PER_USER:.1f} users, drawn with weight "
    f"(rank + 20)^-0.8; {REPEATED:.1%} of the events repeat user and second of another (a page "
    f"view); L = {MAX_LEN}"
)


@dataclass(frozen=True)
class EventLog:
    """N impressions in time order.

    Attributes:
        name: for the report.
        user: (N,) int64 codes.
        time: (N,) int64 seconds, non-decreasing.
    """

    name: str
    user: np.ndarray
    time: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) history length of each impression, at most ``MAX_LEN``."""
        order = sort_order(self.user, self.time)
        bounds = history_bounds(
            self.user[order], self.time[order], self.user, self.time, max_len=MAX_LEN
        )
        return bounds[1]

    def statistics(self) -> dict[str, float | int | str]:
        """The mix of history lengths, for the report."""
        tied = (np.diff(self.user[(order := sort_order(self.user, self.time))]) == 0) & (
            np.diff(self.time[order]) == 0
        )
        shares_time = np.zeros(len(self), bool)
        shares_time[1:] |= tied
        shares_time[:-1] |= tied
        return {
            "log": self.name,
            "events": len(self),
            "users": len(np.unique(self.user)),
            "tied": float(shares_time.mean()),
            "mean length": float(self.lengths.mean()),
            "median length": float(np.median(self.lengths)),
            "full": float((self.lengths == MAX_LEN).mean()),
            "empty": float((self.lengths == 0).mean()),
        }


def synthetic(millions: float, seed: int) -> EventLog:
    """A log of that many million events with the mix of ``MIX``."""
    events = max(int(millions * 1e6), 1)
    users = max(int(events / EVENTS_PER_USER), 1)
    random = np.random.default_rng([seed, events])
    weight = (np.arange(users) + 20.0) ** -0.8
    cumulative = np.cumsum(weight)
    user = np.searchsorted(cumulative, random.random(events) * cumulative[-1])
    time = random.integers(0, DAYS * 86_400, events)
    drawn_before = np.maximum.accumulate(
        np.where(random.random(events) < REPEATED, 0, np.arange(events))
    )
    user, time = user[drawn_before], time[drawn_before]
    order = np.argsort(time, kind="stable")
    # Ranks become names without an order, as real ones are.
    name = random.permutation(users)
    return EventLog(f"{millions:g}M", name[user[order]].astype(np.int64), time[order])


def kuairand(folder: Path) -> EventLog:
    """The logged periods of a prepared data set, with its users and times."""
    prepared = PreparedDataset.load(folder)
    logged = np.isin(prepared.period, sorted(prepared.spec.periods.log))
    user = np.unique(prepared.array(prepared.spec.user), return_inverse=True)[1].ravel()
    return EventLog(
        prepared.spec.dataset_id,
        user[logged].astype(np.int64),
        prepared.timestamp[logged].astype(np.int64),
    )
