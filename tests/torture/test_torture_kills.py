"""Killed processes; and that the torture would notice what it looks for."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from fuxictr_loopfm.files import atomic
from tests.integration.planted import log_frame, write_log
from tests.torture.__main__ import run_apart
from tests.torture.command_stages import STAGES
from tests.torture.filesystem import Operations, fail_at, kill_at
from tests.torture.forked import Ended, run
from tests.torture.whole import debris, differences, digests, misread


@pytest.mark.slow
def test_no_kill_leaves_a_half_or_a_way_that_does_not_go_on(tmp_path: Path) -> None:
    section = run_apart("kills", tmp_path, short=True)
    assert section.survivors == []
    stages = {f"kills of {stage.name}" for stage in STAGES if stage.is_counted}
    assert set(section.tried) == stages and sum(section.tried.values()) >= 24


def test_a_mix_a_half_and_debris_are_noticed(tmp_path: Path) -> None:
    data = tmp_path / "prepared" / "Planted_s1"
    write_log(data)
    before = digests(tmp_path)
    assert misread(tmp_path, [before]) == [] and debris(tmp_path) == []
    write_log(data, log_frame(seed=8))
    (problem,) = misread(tmp_path, [before])
    assert problem == "prepared/Planted_s1: read, and neither the old nor the new one"
    assert differences(digests(tmp_path), before) == [
        "prepared/Planted_s1/dataset.yaml",
        "prepared/Planted_s1/events.parquet",
        "prepared/Planted_s1/sequences.h5",
    ]
    (data / "events.parquet").write_bytes(b"half")
    assert misread(tmp_path, [before]) == [], "refused"
    shutil.rmtree(data)
    weights = tmp_path / "checkpoints" / "Planted_s1" / "base.model"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"half")
    (problem,) = misread(tmp_path, [before])
    assert problem.startswith("checkpoints/Planted_s1/base.model: ")
    (tmp_path / f"{atomic.TEMPORARY_PREFIX}x").mkdir()
    assert debris(tmp_path) == [f"{atomic.TEMPORARY_PREFIX}x"]


def _forked(tmp_path: Path, *first: object) -> Ended:
    """Write a file in a fork that is watched in some way."""

    def command() -> None:
        for operations in first:
            operations.watch()  # type: ignore[attr-defined]
        atomic.write_text(tmp_path / "file", "text")

    return run(command, tmp_path / "output.txt")


def test_every_operation_can_be_killed_at(tmp_path: Path) -> None:
    counted = Operations()
    assert _forked(tmp_path, counted).code == 0
    count = counted.count
    assert count >= 5, "mkdir, open, fsync, replace, fsync, rmdir"
    for number in range(1, count + 1):
        (tmp_path / "file").unlink(missing_ok=True)
        ended = _forked(tmp_path, kill_at(number, after=False))
        assert ended.code == -signal.SIGKILL and ended.killed
        assert not (tmp_path / "file").exists() or (tmp_path / "file").read_text() == "text"
    assert _forked(tmp_path, kill_at(100, after=True)).code == 0, "beyond the last"
    assert debris(tmp_path) == []


def test_processes_that_a_command_forks_count_on(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("first", "second", "third")]

    def command() -> None:
        atomic.write_text(files[0], "text")
        child = os.fork()
        if child == 0:
            atomic.write_text(files[1], "text")
            os._exit(0)
        os.waitpid(child, 0)
        atomic.write_text(files[2], "text")

    def watched(operations: Operations) -> Ended:
        return run(lambda: (operations.watch(), command()), tmp_path / "output.txt")

    counted = Operations()
    assert watched(counted).code == 0 and counted.count % 3 == 0
    for number, written in enumerate(([], ["first"], ["first", "second"])):
        for path in files:
            path.unlink(missing_ok=True)
        assert watched(kill_at(number * counted.count // 3 + 1, after=False)).killed
        assert [path.name for path in files if path.exists()] == written


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_a_call_can_be_made_to_fail(tmp_path: Path, name: str) -> None:
    ended = _forked(tmp_path, fail_at(1, 5, (name,)))
    assert ended.code == 99 and os.strerror(5) in ended.text
    assert not (tmp_path / "file").exists() and debris(tmp_path) == []
