"""Counting the operations that change a file system, and killing or failing at one of them.

Counted are those that Python code makes; what HDF5, Arrow and torch write by themselves is not,
and is what kills at random moments are for.
"""

from __future__ import annotations

import builtins
import io
import mmap
import os
import signal
import struct
from collections.abc import Callable, Collection
from typing import Any

from fuxictr_loopfm.files import atomic

_CALLS = (
    *("replace", "rename", "link", "symlink", "unlink", "mkdir", "rmdir"),
    *("fsync", "truncate", "ftruncate"),
)
_WRITING = set("wax+")
_COUNT = struct.Struct("q")
At = Callable[[int], None]


class Operations:
    """Calls ``before`` and ``after`` with the number, from 1, of each operation.

    It stays in place: it is meant for a forked process. Processes that this one forks count on,
    and whoever made it before forking reads the count of them all.

    Args:
        before, after: called around each operation that is counted, even one that fails.
        names: of the operations to count; None counts all.
    """

    def __init__(
        self,
        before: At | None = None,
        after: At | None = None,
        names: Collection[str] | None = None,
    ) -> None:
        self._shared = mmap.mmap(-1, _COUNT.size)
        self._before, self._after = before or _nothing, after or _nothing
        self._names = names

    @property
    def count(self) -> int:
        """How many operations there were so far."""
        (count,) = _COUNT.unpack_from(self._shared)
        return int(count)

    def watch(self) -> None:
        for name in _CALLS:
            setattr(os, name, self._watched(name, getattr(os, name)))
        atomic.swapped = self._watched("swap", atomic.swapped)
        opening = self._watched("open", builtins.open)

        def watched_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if _WRITING & set(mode) and not isinstance(file, int):
                return opening(file, mode, *args, **kwargs)
            return real_open(file, mode, *args, **kwargs)

        real_open = builtins.open
        builtins.open = io.open = watched_open  # type: ignore[assignment]

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        if self._names is not None and name not in self._names:
            return call

        def watched(*args: Any, **kwargs: Any) -> Any:
            number = self.count + 1
            _COUNT.pack_into(self._shared, 0, number)
            self._before(number)
            try:
                return call(*args, **kwargs)
            finally:
                self._after(number)

        return watched


def _nothing(_number: int) -> None:
    pass


def kill_at(operation: int, *, after: bool) -> Operations:
    """Kill the whole process group right before or after an operation."""

    def kill(number: int) -> None:
        if number == operation:
            os.killpg(os.getpgrp(), signal.SIGKILL)

    return Operations(after=kill) if after else Operations(before=kill)


def fail_at(operation: int, error: int, names: Collection[str]) -> Operations:
    """Let the n-th operation of these names fail with an errno; the others do what they do."""

    def fail(number: int) -> None:
        if number == operation:
            raise OSError(error, os.strerror(error))

    return Operations(before=fail, names=names)
