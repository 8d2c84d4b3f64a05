"""A command in a forked process of its own, bounded, and how it ended: what sections try with.

Nothing is imported again, so an attempt costs what its work costs. The process that forks has
imported everything and run nothing: a pool of threads that polars, torch or pyarrow had started
would not exist in the child. Processes that a command starts itself (the tuner's points, a
preparation script) are forked as well, see :class:`ForkedProcess`.
"""

from __future__ import annotations

import faulthandler
import importlib
import io
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.errors import LoopFMError

Command = Callable[[], object]
MEMORY, SECONDS, TIME_LIMIT = 1 << 30, 10, 60.0
CRASHED, HUNG = 99, -signal.SIGALRM
_popen = subprocess.Popen
# Loaded on first use: tens to hundreds of MiB of address space and seconds that are no command's.
_LATE = (
    *("polars", "pyarrow.compute", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet"),
    *("torch._dynamo", "torch.profiler", "custom", "tests.integration.planted"),
    *(
        f"fuxictr_loopfm.{name}"
        for name in (
            *("evidence.benchmark.benchmark", "evidence.benchmark.sweep", "store.describe"),
            *("evidence.leaderboard.render", "evidence.paper.run", "evidence.paper.render"),
            *("evidence.publish.publish", "pipeline.preparation", "pipeline.workspace"),
            *("runs.export", "runs.run_expid", "upkeep.forget", "upkeep.verification"),
        )
    ),
)


def be_a_fork_server() -> None:
    """Before the first fork: one thread for torch, and what is imported late imported now."""
    import torch

    torch.set_num_threads(1)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    for name in _LATE:
        importlib.import_module(name)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; a negative one is the signal that ended it, ``HUNG`` a time limit.
        text: what it and its processes printed.
        seconds: wall time.
        answer: the mapping that it returned, through JSON; None if it returned none.
    """

    code: int
    text: str
    seconds: float
    answer: Any = None

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


@dataclass(frozen=True)
class Outcome:
    """How a call that might do anything ended.

    Attributes:
        kind: ``fine``, ``refused`` (a LoopFMError), ``raised`` (any other), ``died`` or ``hung``.
        text: the message, or what ended it.
        seconds: wall time.
        megabytes: of memory that the call added at its peak.
    """

    kind: str
    text: str
    seconds: float
    megabytes: float


class Forked:
    """A command in a process group of its own.

    Args:
        command: run in the child; raises SystemExit to end with a code.
        output: file for what it prints.
        seconds: on the clock, after which it is killed.
        memory: bytes that it may map beyond those that this process maps.
    """

    def __init__(
        self,
        command: Command,
        output: Path,
        *,
        seconds: float = TIME_LIMIT,
        memory: int | None = None,
    ) -> None:
        self._output, self._answer = output, output.with_name(f"{output.name}.answer")
        self._answer.unlink(missing_ok=True)
        self._started = time.monotonic()
        self._limit = self._started + seconds
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            _print_into(output)
            subprocess.Popen = popen  # type: ignore[assignment, misc]
            if memory is not None:
                limit_memory(memory)
            _end_with(command, self._answer)
        with suppress(PermissionError, ProcessLookupError):  # it was quicker, or is gone
            os.setpgid(self.pid, self.pid)

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal, to the command or to all its processes."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self) -> Ended:
        """Wait until it ends; one that hangs is killed with its processes."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > self._limit:
                self.signal(signal.SIGKILL, group=True)
                os.waitpid(self.pid, 0)
                status = signal.SIGALRM
                break
            time.sleep(0.002)
        seconds = time.monotonic() - self._started
        # What limit_time sends once a process has used up its own time.
        code = HUNG if status == signal.SIGPROF else os.waitstatus_to_exitcode(status)
        answer = json.loads(self._answer.read_text()) if self._answer.is_file() else None
        return Ended(code, self._output.read_text(errors="replace"), seconds, answer)

    def members(self) -> list[int]:
        """Processes of the group that are left (of Linux: zombies do not count)."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self.pid and fields[0] != "Z":
                found.append(int(entry.name))
        return found


def run(command: Command, output: Path, **bounds: Any) -> Ended:
    """Run a command to its end; ``bounds`` as :class:`Forked` takes them."""
    return Forked(command, output, **bounds).wait()


def in_a_cell(
    function: Command, output: Path, *, memory: int = MEMORY, seconds: int = SECONDS
) -> Outcome:
    """Call ``function`` with little memory and little time; ``output`` gets what it prints."""

    def bounded() -> dict[str, Any]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        limit_time(seconds)
        kind, text = call(function)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        return {"kind": kind, "text": text[:60_000], "megabytes": grown / 1024}

    ended = run(bounded, output, memory=memory, seconds=7 * seconds)
    if ended.answer is not None:
        return Outcome(**ended.answer, seconds=ended.seconds)
    kind = "hung" if ended.code == HUNG else "died"
    return Outcome(kind, f"with code {ended.code}", ended.seconds, 0.0)


def call(function: Command) -> tuple[str, str]:
    """(kind, text) of a call in this process."""
    try:
        function()
    except LoopFMError as error:
        return "refused", str(error)
    except BaseException as error:
        return "raised", f"{type(error).__name__} at {_place_of(error)}: {error}"
    return "fine", ""


def _place_of(error: BaseException) -> str:
    """File and line of our own code that an error passed last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "fuxictr_loopfm" in f.filename or "data_prep" in f.filename]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def limit_memory(more: int) -> None:
    """Let this process map ``more`` bytes than it does now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def limit_time(seconds: int) -> None:
    """End this process after so much time of its own, or six times that on the clock; 0 is never.

    On a busy machine the clock alone would call anything hung.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(6 * seconds)


def _print_into(output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
    faulthandler.disable()  # pytest's would tell of a crash on the screen


def _end_with(command: Command, answer: Path | None = None) -> None:
    """Run in the child and leave without going back into the parent's code."""
    code: Any = CRASHED
    try:
        returned = command()
        if answer is not None and isinstance(returned, dict):
            answer.write_text(json.dumps(returned), encoding="utf-8")
        code = 0
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


class ForkedProcess:
    """What ``subprocess.Popen`` would be, for a Python script, without starting Python."""

    def __init__(self, command: list[str], stderr: int | None = None, **_: Any) -> None:
        script = next(place for place, part in enumerate(command) if part.endswith(".py"))
        reading, writing = os.pipe() if stderr == subprocess.PIPE else (None, None)
        self.returncode: int | None = None
        self.stderr = None
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if writing is not None:
                os.dup2(writing, 2)
                sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), write_through=True)
            sys.argv = command[script:]
            _end_with(lambda: runpy.run_path(command[script], run_name="__main__"))
        if reading is not None and writing is not None:
            os.close(writing)
            self.stderr = open(reading, "rb", buffering=0)  # noqa: SIM115

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def __enter__(self) -> ForkedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stderr is not None:
            self.stderr.close()
        self.wait()


def popen(command: Any, *args: Any, **kwargs: Any) -> Any:
    """``subprocess.Popen``; a Python script is forked."""
    is_python = isinstance(command, list) and Path(command[0]).name.startswith("python")
    if is_python and any(str(part).endswith(".py") for part in command):
        return ForkedProcess([str(part) for part in command], **kwargs)
    return _popen(command, *args, **kwargs)
