"""How every command ends: one message and an exit code, never a traceback for what is no bug.

    0    done
    1    a mistake or a lack that the user can mend; "error: " and what it is
    130  interrupted from the keyboard (SIGINT)
    143  asked to stop (SIGTERM), by a scheduler or a container that is shut down

A stop unwinds the program like an error, so that temporary files go, locks are released and child
processes end. What was finished stays, and the same command goes on from there.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from fuxictr_loopfm.errors import LoopFMError

GO_ON = "stopped; run the same command again to go on"
FAILED, INTERRUPTED, TERMINATED = 1, 128 + int(signal.SIGINT), 128 + int(signal.SIGTERM)

_REMEDIES = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT),
        "Free space or give another folder, then run the same command again.",
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "Give a folder that this user may write to."
    ),
    **dict.fromkeys(
        (errno.EEXIST, errno.ENOTDIR),
        "A file stands where a folder is needed: give another path, or move the file.",
    ),
    errno.EISDIR: "A folder stands where a file is needed: give another path, or move the folder.",
    errno.ENOENT: "Check the path.",
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f), then run the same command again.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), then run the same command again.",
}
_MEMORY_REMEDY = (
    "out of memory. Use fewer --workers, a --memory-limit or a smaller batch_size, or a machine "
    "with more memory, then run the same command again."
)
# How torch, which has no error of its own for the CPU, words it; CUDA's error says the second.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory")


# Clean-up takes less; a second signal within it would end that half-way.
_GRACE_SECONDS = 5.0
_AGAIN_SECONDS = 0.05


class Terminated(BaseException):
    """SIGTERM; no ``Exception``, so that nothing takes it for an error to go on after."""


@contextmanager
def one_message() -> Iterator[None]:
    """Run a command; what the user can mend, or did, becomes a message and an exit code.

    Raises:
        SystemExit: with the codes above, after the message was printed to stderr.
    """
    stop = _Stop()
    with stop.on_signals():
        try:
            yield
        except (KeyboardInterrupt, Terminated):
            _end(GO_ON, stop.code or INTERRUPTED)
        except Exception as error:
            if stop.code:
                _end(GO_ON, stop.code)  # a library made an error of its own of the stop
            message = _message(error)
            if message is None:
                raise
            _end(f"error: {message}", FAILED)


class _Stop:
    """Turns SIGINT and SIGTERM into exceptions, once each time the process is asked to stop.

    Attributes:
        code: the exit code if it was, else None.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._asked = -math.inf

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Answer the signals during the block; they reach the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # A log line that finds the disk full must not add a traceback to the message.
        complaints, logging.raiseExceptions = logging.raiseExceptions, False
        hook, sys.unraisablehook = sys.unraisablehook, self._unraisable(sys.unraisablehook)
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in former.items():
            if handler is not signal.SIG_IGN:  # of a command in the background
                signal.signal(number, self._raise)
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            sys.unraisablehook = hook
            logging.raiseExceptions = complaints

    def _raise(self, number: int, _frame: FrameType | None) -> None:
        if time.monotonic() - self._asked < _GRACE_SECONDS:
            return
        self._asked = time.monotonic()
        self.code = 128 + number
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def _unraisable(self, hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Where Python drops exceptions, as in a generator's clean-up, ask again a little later."""

        def answer(dropped: Any) -> None:
            if not issubclass(dropped.exc_type, (KeyboardInterrupt, Terminated)):
                hook(dropped)
                return
            self._asked = -math.inf
            again = threading.Timer(
                _AGAIN_SECONDS, os.kill, (os.getpid(), (self.code or TERMINATED) - 128)
            )
            again.daemon = True
            again.start()

        return answer


def _message(error: Exception) -> str | None:
    """What the user is told; None of an error that is a bug."""
    if isinstance(error, LoopFMError):
        return str(error)
    if isinstance(error, OSError):
        return _of_system(error)
    no_memory = any(text in str(error) for text in _OUT_OF_MEMORY)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and no_memory):
        return _MEMORY_REMEDY
    return None


def _of_system(error: OSError) -> str:
    """An error of the system in words: file, what is wrong, remedy."""
    parts = [str(error.filename)] if error.filename is not None else []
    text = ": ".join([*parts, error.strerror or str(error)])
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{text}. {remedy}" if remedy else text


def _end(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(code) from None
