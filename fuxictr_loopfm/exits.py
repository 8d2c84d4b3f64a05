"""How a command ends: with one message and an exit code. A traceback is shown for a bug only.

    0    done
    1    a mistake or a lack that the user can mend; "error: " and what it is
    130  interrupted from the keyboard (SIGINT)
    143  asked to stop (SIGTERM), by a scheduler or a container that is shut down

A stop is raised as an exception. So it unwinds the program like an error: temporary files are
deleted, locks are released, and child processes end. What was finished stays, and the same command
goes on from there.
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
# Torch raises a plain RuntimeError for a lack of memory. The first text is the CPU's, the second
# is CUDA's.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory")


# A second signal within this time is ignored, because it would end the clean-up half-way.
_GRACE_SECONDS = 5.0
# How long after a stop that Python dropped the process asks itself again.
_AGAIN_SECONDS = 0.05


class Terminated(BaseException):
    """SIGTERM. No ``Exception``, because code that goes on after an error must not catch it."""


@contextmanager
def one_message() -> Iterator[None]:
    """Run the block as a command.

    A ``LoopFMError``, an error of the system, a lack of memory and a stop become one message on
    stderr and an exit code. Any other error is a bug and passes through.

    Raises:
        SystemExit: with one of the codes above.
    """
    stop = _Stop()
    with stop.on_signals():
        try:
            yield
        except (KeyboardInterrupt, Terminated):
            _end(GO_ON, stop.code or INTERRUPTED)
        except Exception as error:
            if stop.code:
                # A library caught the stop and raised an error of its own.
                _end(GO_ON, stop.code)
            message = _message(error)
            if message is None:
                raise
            _end(f"error: {message}", FAILED)


class _Stop:
    """Turns SIGINT and SIGTERM into exceptions.

    Attributes:
        code: the exit code if the process was asked to stop, else None.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._asked = -math.inf

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Answer signals during the block; in another thread than the main one this does nothing.

        Python delivers signals to the main thread only, and only there they may be set.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Logging prints a traceback when it cannot write, for example to a full disk.
        complaints, logging.raiseExceptions = logging.raiseExceptions, False
        hook, sys.unraisablehook = sys.unraisablehook, self._unraisable(sys.unraisablehook)
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in former.items():
            # A shell lets commands in the background ignore SIGINT; that stays.
            if handler is not signal.SIG_IGN:
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
        """A hook for exceptions that Python drops, as in a destructor.

        If a stop is dropped there, the process sends itself the signal again a little later.
        """

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
    """What the user is told about an error; None if it is a bug."""
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
