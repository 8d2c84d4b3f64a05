"""A deployment day after day in one process, shortened: is anything left over from a day?

A day: a new period comes in and the oldest falls out; the teacher is trained, logs, the store and
its pointers are built, a vertical model is trained; histories of the new period are served; what
was made of yesterday's data goes; now and then a user is deleted.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from fuxictr_loopfm.evidence.methods import method_slug
from fuxictr_loopfm.pipeline.histories import Histories
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.runs.vertical import run_vertical
from fuxictr_loopfm.upkeep.forget import forget_outdated, forget_users
from fuxictr_loopfm.upkeep.verification import verify_folder
from tests.integration.planted import (
    CHUNKS,
    FIRST_SECOND,
    GENRES,
    ITEMS,
    load,
    write_configs,
    write_log,
)
from tests.torture.process_state import COUNTS, ProcessState
from tests.torture.section import Profile, Section

USERS, EVENTS_A_DAY, SECONDS_A_DAY = 60, 200, 86_400
MINUTES, SHORT_DAYS, WARM_UP = 15, 6, 3
FORGET_EVERY = 3
BATCH = 64
MIB = 1 << 20
# A short soak has few days to average over: pages that libraries touch for the first time count.
GROWTH, SLOPE_BYTES = 0.10, MIB
METHOD = "KD+LoopFM+label"


class Deployment:
    """A sliding window of periods and everything that is made of it."""

    def __init__(self, root: Path, seed: int) -> None:
        self._seed, self._next_day = seed, 0
        self._interest = np.random.default_rng(seed).integers(0, GENRES, USERS)
        self.root, self.folder = root, root / "data" / "prepared" / "Planted_s1"
        self.forgotten: list[str] = []
        self._frame = pd.concat([self._new_day() for _ in range(CHUNKS - 1)])
        self.config = write_configs(root / "configs", root, self.folder, epochs=1)

    def _new_day(self) -> pd.DataFrame:
        """The raw log of the next day, all users in it, also those who were deleted."""
        random = np.random.default_rng([self._seed, self._next_day])
        user, item = (random.integers(0, n, EVENTS_A_DAY) for n in (USERS, ITEMS))
        wanted = self._interest[user] == item % GENRES
        second = np.sort(random.integers(0, SECONDS_A_DAY, EVENTS_A_DAY))
        time_ = FIRST_SECOND + self._next_day * SECONDS_A_DAY + second
        self._next_day += 1
        return pd.DataFrame(
            {
                "timestamp": time_,
                "click": (random.random(EVENTS_A_DAY) < np.where(wanted, 0.85, 0.15)).astype("i1"),
                "user_id": [f"u{code}" for code in user],
                "item_id": [f"i{code}" for code in item],
                "genre": [f"g{code % GENRES}" for code in item],
                "hour": [str(code) for code in second // 3600],
                "price": random.normal(size=EVENTS_A_DAY).astype(np.float32),
                "segment": [f"s{code}" for code in self._interest[user]],
            }
        )

    def prepare(self) -> PreparedDataset:
        """The window with the new day at its end, without the deleted users."""
        day = self._new_day()
        frame = pd.concat([self._frame, day[~day["user_id"].isin(self.forgotten)]])
        days = (frame["timestamp"] - FIRST_SECOND) // SECONDS_A_DAY
        frame = frame.assign(period=(days - days.max() + CHUNKS).astype(np.int32))
        prepared = write_log(self.folder, frame.reset_index(drop=True))
        self._frame = frame[frame["period"] > 1].drop(columns="period")
        return prepared

    def build_and_train(self) -> Workspace:
        """Teacher, log, store, pointers and a vertical model."""
        experiment, workspace = load(
            self.config, method_slug(METHOD), epochs=1, batch_size=BATCH, loopfm_num_shards=2
        )
        run_vertical(experiment, workspace, model_name="DeepFM", command="soak")
        return workspace

    def serve(self, workspace: Workspace) -> list[str]:
        """Histories of the new period, batch by batch; what is wrong with them."""
        prepared, spec = workspace.prepared, workspace.prepared.spec
        histories = Histories(workspace)
        rows = prepared.rows_of(spec.periods.test)
        for source in histories.sources("test").values():
            for first in range(rows.start, rows.stop, BATCH):
                source.batch(np.arange(first, min(first + BATCH, rows.stop)))
        folder = workspace.structuring(spec.user).require_own()
        return verify_folder(folder, prepared.folder).problems  # and the pointers into it

    def forget_user(self, day: int) -> list[str]:
        """Delete one of the users of the window; their traces, if any."""
        users = sorted(set(self._frame["user_id"]))
        user = users[day % len(users)]
        forget_users(self.folder, [user], [self.root / "data"])
        self.forgotten = [*self.forgotten, user][-USERS // 3 :]
        self._frame = self._frame[self._frame["user_id"] != user]
        if user in set(PreparedDataset.load(self.folder).array("user_id")):
            return [f"day {day}: {user} was deleted and is still in the prepared data set"]
        return []


@contextmanager
def steady(folder: Path) -> Iterator[Path]:
    """Everything temporary goes into a folder of ours, where a leak can be seen.

    Arrow's pools start their threads one by one as work comes in; they get one each, so that a
    thread more is a leak.
    """
    folder.mkdir()
    former, tempfile.tempdir = tempfile.tempdir, str(folder)
    threads = pa.cpu_count(), pa.io_thread_count()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        yield folder
    finally:
        pa.set_cpu_count(threads[0])
        pa.set_io_thread_count(threads[1])
        tempfile.tempdir = former


def torture(profile: Profile) -> Section:
    """Day after day for the stated time."""
    section = Section("Soak: day after day in one process")
    ends = time.monotonic() + MINUTES * 60
    states: list[ProcessState] = []
    with steady(profile.folder / "tmp"):
        deployment = Deployment(profile.folder / "deployment", profile.seed)
        day = 0
        while time.monotonic() < ends if profile.long else day < SHORT_DAYS:
            one_day(deployment, day, section)
            states.append(ProcessState.read(profile.folder))
            day += 1
    judge(states[WARM_UP:], section)
    section.notes += report_lines(states)
    return section


def one_day(deployment: Deployment, day: int, section: Section) -> None:
    """A day, and what went wrong on it."""
    deployment.prepare()
    workspace = deployment.build_and_train()
    section.survivors += [f"day {day}: {problem}" for problem in deployment.serve(workspace)]
    removed = forget_outdated(deployment.folder, [deployment.root / "data"])
    section.count("days")
    section.count("outdated artifacts deleted", len(removed))
    if day % FORGET_EVERY == FORGET_EVERY - 1:
        section.survivors += deployment.forget_user(day)
        section.count("users deleted")


def judge(states: list[ProcessState], section: Section) -> None:
    """Counts must not grow; resident memory must not trend upwards."""
    for name in COUNTS:
        # Days with a deletion have other files than those without: the peaks are compared.
        half = len(states) // 2
        first, last = (
            max(getattr(state, name) for state in part) for part in (states[:half], states[half:])
        )
        section.count(f"readings of {name}", len(states))
        # A library's pool may start a last thread late; a leak adds one day after day.
        if last > first + (name == "threads"):
            section.survivors.append(f"{name}: grew from at most {first} to {last}")
    resident = np.array([state.resident for state in states], float)
    slope = float(np.polyfit(np.arange(len(resident)), resident, 1)[0])
    growth = resident[-1] / resident[0] - 1
    if growth > GROWTH or slope > SLOPE_BYTES:
        section.survivors.append(
            f"resident memory: expected at most {GROWTH:.0%} and 1 MiB a day more, found "
            f"{growth:.1%} and {slope / MIB:.2f} MiB a day over {len(resident)} days"
        )
    section.notes.append(
        f"Resident memory after {WARM_UP} days of warm-up: {resident[0] / MIB:.0f} MiB, at the end "
        f"{resident[-1] / MIB:.0f} MiB ({growth:+.1%}), {slope / 1024:+.0f} KiB a day; measured "
        "after gc.collect and malloc_trim."
    )


def report_lines(states: list[ProcessState]) -> list[str]:
    """First and last reading of everything that is counted."""
    first, last = states[WARM_UP], states[-1]
    return [
        f"{name}: {getattr(first, name)} on day {WARM_UP + 1}, {getattr(last, name)} on day "
        f"{len(states)}"
        for name in (*COUNTS, "bytes")
    ]
