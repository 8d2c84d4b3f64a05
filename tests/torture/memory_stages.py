"""The stages whose memory is bounded, and what a run of one of them takes.

Its peak is what the kernel says the address space of its process grew to.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.exits import one_message
from fuxictr_loopfm.runs.export import export_histories
from fuxictr_loopfm.runs.vertical import run_vertical
from fuxictr_loopfm.upkeep.forget import forget_users
from fuxictr_loopfm.upkeep.verification import verify_folder
from tests.integration.planted import load, log_spec, write_configs, write_log

DIM, MAX_LEN, EVENTS_OF_A_USER, ITEMS, PERIODS = 16, 8, 50, 2_000, 6
LEAST_MEMORY_LIMIT = 64 << 20
_CUSTOM = """
dataset_id: Own_s1
log: raw.csv
user: user_id
item: item_id
time: {column: timestamp, unit: s}
label: click
duplicates: keep
vertical: [user_id, item_id, genre, price]
teacher_only: [segment]
numeric: [price]
history: {name: item_history, max_len: 8}
periods: {kind: chunks, count: 6}
teacher_periods: 2
"""


def make_data(folder: Path, rows: int) -> None:
    """A raw log and the prepared data set of another preparation, with configurations."""
    random = np.random.default_rng(rows)
    users = max(rows // EVENTS_OF_A_USER, 1)
    user, item = random.integers(0, users, rows), random.integers(0, ITEMS, rows)
    interest = random.integers(0, 2, users)
    frame = pd.DataFrame(
        {
            "timestamp": 1_500_000_000 + np.arange(rows) * 7,
            "period": np.arange(rows) * PERIODS // rows + 1,
            "click": (random.random(rows) < np.where(interest[user] == item % 2, 0.8, 0.2)).astype(
                np.int8
            ),
            "user_id": np.char.add("u", user.astype(str)).astype(object),
            "item_id": np.char.add("i", item.astype(str)).astype(object),
            "genre": np.char.add("g", (item % 20).astype(str)).astype(object),
            "hour": (np.arange(rows) // 500 % 24).astype(str).astype(object),
            "price": random.normal(size=rows).astype(np.float32),
            "segment": np.char.add("s", interest[user].astype(str)).astype(object),
        }
    )
    assert log_spec().periods.count == PERIODS
    prepared = write_log(folder / "data" / "prepared" / "Planted_s1", frame)
    write_configs(folder / "configs", folder, prepared.folder, epochs=1, batch_size=1024)
    frame.to_csv(folder / "raw.csv", index=False)
    (folder / "custom.yaml").write_text(_CUSTOM, encoding="utf-8")


def _workspace(folder: Path, **changes: Any) -> Any:
    return load(
        folder / "configs", "kd_loopfm", epochs=1, batch_size=1024, loopfm_dim=DIM,
        loopfm_max_len=MAX_LEN, **changes
    )[1]  # fmt: skip


def prepare(folder: Path) -> None:
    """``data_prep/custom.py`` on a csv file."""
    custom = importlib.import_module("custom")
    with contextlib.redirect_stdout(sys.stderr):
        custom.main(
            argparse.Namespace(
                spec=folder / "custom.yaml",
                out=folder / "own" / "Own_s1",
                drop_last_period=False,
            )
        )


def encode(folder: Path) -> None:
    """Both encoded views."""
    workspace = _workspace(folder)
    _ = workspace.view, workspace.extraction_pass.run.view


def teacher(folder: Path) -> None:
    """An epoch of the teacher with its compressor."""
    _workspace(folder).extraction_pass.run.ready()


def extract(folder: Path) -> None:
    """The inference pass."""
    _ = _workspace(folder).extraction_pass.build()


def structure(folder: Path) -> None:
    """The store, sorted in memory."""
    _workspace(folder).structuring("user_id").build()


def structure_limited(folder: Path) -> None:
    """A store under the least ``--memory-limit`` there is."""
    _workspace(folder).structuring("item_id").build(memory_limit=LEAST_MEMORY_LIMIT)


def pointers(folder: Path) -> None:
    """The pointers of training and test samples."""
    workspace = _workspace(folder)
    workspace.point(workspace.structuring("user_id").require_own(), "user_id")


def vertical(folder: Path) -> None:
    """An epoch of the vertical model with KD and histories, and its test."""
    workspace = _workspace(folder)
    run_vertical(workspace.experiment, workspace, model_name="DeepFM", command="memory")


def export(folder: Path) -> None:
    """Materialised histories of the test split."""
    export_histories(_workspace(folder), folder / "exported", ["test"])


def _store(folder: Path) -> Path:
    return Path(_workspace(folder).structuring("user_id").folder)


def verify(folder: Path) -> None:
    """Checksums, and every event against the log."""
    report = verify_folder(_store(folder), folder / "data" / "prepared" / "Planted_s1")
    if report.problems:
        raise LoopFMError("\n".join(report.problems))


def forget(folder: Path) -> None:
    """Deletion of a user from the data set and both stores."""
    forget_users(folder / "data" / "prepared" / "Planted_s1", ["u7"], [folder / "data"])


STAGES: dict[str, Callable[[Path], None]] = {
    stage.__name__: stage
    for stage in (
        *(prepare, encode, teacher, extract, structure, structure_limited, pointers, vertical),
        *(export, verify, forget),
    )
}


def _status(name: str) -> int:
    """Bytes of an entry of ``/proc/self/status`` that is in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(name)


def measured(stage: Callable[[Path], None], folder: Path) -> dict[str, float]:
    """Run a stage as a command does; address space and resident bytes it added, CPU seconds."""
    # What it may map is limited by now and gives room for this process as it is.
    before, resident, started = _status("VmSize"), _status("VmRSS"), time.process_time()
    with one_message():
        stage(folder)
    return {
        "mapped": _status("VmPeak") - before,
        "resident": _status("VmHWM") - resident,
        "cpu": time.process_time() - started,
    }
