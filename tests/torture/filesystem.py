"""Counting the operations that change a file system, and killing or failing at one of them.

Counted are those that Python code makes; what HDF5, Arrow and torch write by themselves is not,
and is what kills at random moments are for.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuxictr_loopfm.files import atomic

_CALLS = ("replace", "rename", "link", "fsync", "unlink", "rmdir", "mkdir", "truncate", "ftruncate")
_WRITING = set("wax+")
At = Callable[[int, str], None]


class Operations:
    """Calls ``before`` and ``after`` with the number, from 1, and name of each operation.

    It stays in place: it is meant for a forked process.
    """

    def __init__(self, before: At | None = None, after: At | None = None) -> None:
        self.count = 0
        self._before, self._after = before or _nothing, after or _nothing

    def watch(self) -> None:
        for name in _CALLS:
            setattr(os, name, self._watched(name, getattr(os, name)))
        atomic._swapped = self._watched("swap", atomic._swapped)
        opening = self._watched("open", builtins.open)

        def watched_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if _WRITING & set(mode) and not isinstance(file, int):
                return opening(file, mode, *args, **kwargs)
            return real_open(file, mode, *args, **kwargs)

        real_open = builtins.open
        builtins.open = io.open = watched_open  # type: ignore[assignment]

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            number = self.count
            self._before(number, name)
            result = call(*args, **kwargs)
            self._after(number, name)
            return result

        return watched


def _nothing(_number: int, _name: str) -> None:
    pass


def kill_at(operation: int, *, after: bool) -> Operations:
    """Kill the whole process group right before or after an operation."""

    def kill(number: int, _name: str) -> None:
        if number == operation:
            os.killpg(os.getpgrp(), signal.SIGKILL)

    return Operations(after=kill) if after else Operations(before=kill)


def fail_at(operation: int, error: int, names: tuple[str, ...]) -> Operations:
    """Let the n-th operation of these names fail with an errno; the others do what they do."""
    seen = 0

    def fail(_number: int, name: str) -> None:
        nonlocal seen
        seen += name in names
        if name in names and seen == operation:
            raise OSError(error, os.strerror(error))

    return Operations(before=fail)


def counting_into(path: Path, names: tuple[str, ...] | None = None) -> Operations:
    """Keep the number of operations so far in a file."""
    seen = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def count(_number: int, name: str) -> None:
        nonlocal seen
        if names is None or name in names:
            seen += 1
            os.pwrite(descriptor, str(seen).encode(), 0)

    return Operations(after=count)
