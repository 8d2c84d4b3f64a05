"""The stages whose memory is bounded, and a process that forks one child for each run of a stage.

A child starts with all libraries loaded. What it may map beyond that is limited by RLIMIT_AS, and
its peak is what the kernel says its address space grew to.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

DIM, MAX_LEN, EVENTS_OF_A_USER, ITEMS, PERIODS = 16, 8, 50, 2_000, 6
LEAST_MEMORY_LIMIT = 64 << 20
_MOST_SECONDS = 300
_DATA_PREP = Path(__file__).resolve().parents[2] / "data_prep"
# Loaded on first use, tens to hundreds of MiB of address space that are no stage's own.
_LIBRARIES = (
    "torch._dynamo",
    "polars",
    "pyarrow.parquet",
    "pyarrow.compute",
    "pyarrow.csv",
    "fuxictr_loopfm.runs.vertical",
    "fuxictr_loopfm.runs.export",
    "fuxictr_loopfm.upkeep.forget",
    "fuxictr_loopfm.upkeep.verification",
    "tests.integration.planted",
)
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
    from tests.integration.planted import log_spec, write_configs, write_log

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
    from tests.integration.planted import load

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
    from fuxictr_loopfm.runs.vertical import run_vertical

    workspace = _workspace(folder)
    run_vertical(workspace.experiment, workspace, model_name="DeepFM", command="memory")


def export(folder: Path) -> None:
    """Materialised histories of the test split."""
    from fuxictr_loopfm.runs.export import export_histories

    export_histories(_workspace(folder), folder / "exported", ["test"])


def _store(folder: Path) -> Path:
    return Path(_workspace(folder).structuring("user_id").folder)


def verify(folder: Path) -> None:
    """Checksums, and every event against the log."""
    from fuxictr_loopfm.errors import LoopFMError
    from fuxictr_loopfm.upkeep.verification import verify_folder

    report = verify_folder(_store(folder), folder / "data" / "prepared" / "Planted_s1")
    if report.problems:
        raise LoopFMError("\n".join(report.problems))


def forget(folder: Path) -> None:
    """Deletion of a user from the data set and both stores."""
    from fuxictr_loopfm.upkeep.forget import forget_users

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


def _run(job: dict[str, Any]) -> int:
    """In the child: run a stage and write what it took; the exit code."""
    from fuxictr_loopfm.exits import one_message

    folder, before, resident = Path(job["folder"]), _status("VmSize"), _status("VmRSS")
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(log, standard)
    if job["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_AS, (before + job["limit"],) * 2)
    signal.alarm(_MOST_SECONDS)  # ends what waits for a thread that never came up
    started = time.process_time()
    try:
        if job["stage"] == "data":
            make_data(folder, job["rows"])
        else:
            with one_message():
                STAGES[job["stage"]](folder)
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.stderr.flush()
    facts = {
        "mapped": _status("VmPeak") - before,
        "resident": _status("VmHWM") - resident,
        "cpu": time.process_time() - started,
    }
    Path(job["facts"]).write_text(json.dumps(facts), encoding="utf-8")
    return 0


def main() -> None:
    """Read a job a line, fork for each, answer with its exit status."""
    sys.path.insert(0, str(_DATA_PREP))
    for name in (*_LIBRARIES, "custom"):
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = 70
            try:
                code = _run(json.loads(line))
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main()
