"""Running shards: the same files with every engine, and what a dying worker costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_tasks import WriteShard, divide_by_zero, refuse_shard_1

from fuxictr_loopfm.engine import ATTEMPTS, run_shards
from fuxictr_loopfm.errors import ConfigError, LoopFMError

EXPECTED = {f"shard-{shard}": f"content of {shard}" for shard in range(6)}
RAY = pytest.param("ray", marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def tasks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a Ray cluster know the environment, but not this process's import path."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def test_one_worker_runs_in_this_process(tmp_path: Path) -> None:
    task = WriteShard(tmp_path)
    run_shards(task, range(6))
    assert task.files() == EXPECTED
    assert {pid for shard in range(6) for pid in task.attempts(shard)} == {str(os.getpid())}


@pytest.mark.parametrize("engine", ["processes", RAY])
def test_a_killed_worker_costs_only_its_shard(tmp_path: Path, engine: str) -> None:
    task = WriteShard(tmp_path, deaths=((2, 1), (4, 2)))
    run_shards(task, range(6), engine=engine, workers=2)
    assert task.files() == EXPECTED
    assert [len(task.attempts(shard)) for shard in range(6)] == [1, 1, 2, 1, 3, 1]
    processes = {pid for shard in range(6) for pid in task.attempts(shard)}
    assert str(os.getpid()) not in processes and len(processes) >= 3


@pytest.mark.parametrize("engine", ["processes", RAY])
def test_a_shard_that_always_dies_is_given_up_and_named(tmp_path: Path, engine: str) -> None:
    task = WriteShard(tmp_path, deaths=((0, ATTEMPTS),))
    with pytest.raises(LoopFMError, match=f"shard 0: its worker died {ATTEMPTS} times"):
        run_shards(task, range(3), engine=engine, workers=2)
    assert len(task.attempts(0)) == ATTEMPTS and "shard-0" not in task.files()


@pytest.mark.parametrize("engine", ["processes", RAY])
def test_an_error_of_a_task_arrives_as_it_was_raised(engine: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run_shards(refuse_shard_1, range(4), engine=engine, workers=2)
    assert str(caught.value) == "shard 1: expected an even number\nand a second problem"


def test_an_error_that_is_no_users_mistake_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError: in shard 0") as caught:
        run_shards(divide_by_zero, [0, 0], workers=2)
    assert "in divide_by_zero" in str(caught.value.__cause__)


def test_no_shard_is_begun_after_an_error(tmp_path: Path) -> None:
    task = WriteShard(tmp_path, deaths=((0, ATTEMPTS),))
    with pytest.raises(LoopFMError, match="shard 0"):
        run_shards(task, [0, *[1] * 500], workers=2)
    assert len(task.attempts(1)) < 500


STOPPED = """
import sys
from pathlib import Path
from engine_tasks import StopHalfWay
from fuxictr_loopfm.engine import run_shards
from fuxictr_loopfm.exits import one_message
if __name__ == "__main__":
    with one_message():
        run_shards(StopHalfWay(Path(sys.argv[1])), range(4), workers=2)
"""


@pytest.mark.parametrize(
    ("number", "to_all", "code"), [(signal.SIGTERM, False, 143), (signal.SIGINT, True, 130)]
)
def test_a_stop_ends_the_workers_and_leaves_nothing(
    tmp_path: Path, number: int, to_all: bool, code: int
) -> None:
    """A scheduler's signal reaches the parent alone, a key press all of them."""
    (tmp_path / "stopped.py").write_text(STOPPED)
    (tmp_path / "out").mkdir()
    command = [sys.executable, str(tmp_path / "stopped.py"), str(tmp_path / "out")]
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    ) as parent:
        while len(waiting := list((tmp_path / "out").glob("waiting-*"))) < 2:
            assert parent.poll() is None
            time.sleep(0.01)
        (os.killpg if to_all else os.kill)(parent.pid, number)
        text = parent.stderr.read()  # until the last worker has closed it
    assert (parent.returncode, text) == (code, "stopped; run the same command again to go on\n")
    for path in waiting:
        assert not Path("/proc", path.name.rpartition("-")[2]).exists()
    assert sorted((tmp_path / "out").iterdir()) == sorted(waiting)


def test_nothing_to_do_starts_nothing() -> None:
    run_shards(divide_by_zero, [], engine="ray", workers=3)
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"engine: expected one of \['processes', 'ray'\]"):
        run_shards(refuse_shard_1, [0], engine="threads")
    with pytest.raises(ConfigError, match="workers: expected 1 or more, found 0"):
        run_shards(refuse_shard_1, [0], workers=0)


def test_a_missing_ray_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"fuxictr_loopfm\[ray\]"):
        run_shards(refuse_shard_1, [0], engine="ray")


def test_the_engine_imports_ray_only_when_it_is_asked_for() -> None:
    check = "import sys, fuxictr_loopfm.engine; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
