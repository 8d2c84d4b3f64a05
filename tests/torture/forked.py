"""Commands in forked processes: nothing is imported again, so an attempt costs what its work costs.

The process that forks has imported everything and run nothing: a pool of threads that polars, torch
or pyarrow had started would not exist in the child. Processes that a command starts itself (the
tuner's points, a preparation script) are forked as well, see :class:`ForkedProcess`.
"""

from __future__ import annotations

import io
import os
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

Command = Callable[[], object]
TIME_LIMIT = 60.0
CRASHED = 99
_popen = subprocess.Popen


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; -9 for a killed process.
        text: what it and its processes printed.
        seconds: wall time.
    """

    code: int
    text: str
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Forked:
    """A command in a process group of its own.

    Args:
        command: run in the child; raises SystemExit to end with a code.
        output: file for what it prints.
    """

    def __init__(self, command: Command, output: Path) -> None:
        self._output = output
        self._started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            _print_into(output)
            subprocess.Popen = popen  # type: ignore[assignment, misc]
            _end_with(command)
        with suppress(PermissionError, ProcessLookupError):  # it was quicker, or is gone
            os.setpgid(self.pid, self.pid)

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal, to the command or to all its processes."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self) -> Ended:
        """Wait until it ends; one that hangs is killed and reported as code -14."""
        limit = self._started + TIME_LIMIT
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > limit:
                self.signal(signal.SIGKILL, group=True)
                os.waitpid(self.pid, 0)
                status = signal.SIGALRM
                break
            time.sleep(0.002)
        seconds = time.monotonic() - self._started
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, self._output.read_text(errors="replace"), seconds)

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


def run(command: Command, output: Path) -> Ended:
    """Run a command to its end."""
    return Forked(command, output).wait()


def _print_into(output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)


def _end_with(command: Command) -> None:
    """Run in the child and leave without going back into the parent's code."""
    code: Any = CRASHED
    try:
        command()
        code = 0
    except SystemExit as end:
        code = end.code or 0
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
