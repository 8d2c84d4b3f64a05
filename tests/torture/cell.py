"""A forked process with little memory and little time, for input that may do anything."""

from __future__ import annotations

import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuxictr_loopfm.errors import LoopFMError

MEMORY = 1 << 30
SECONDS = 10


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        kind: ``fine``, ``refused`` (a LoopFMError), ``raised`` (any other), ``died`` or ``hung``.
        text: the message, or what killed it.
        seconds: wall time.
        megabytes: of memory that the call added at its peak.
    """

    kind: str
    text: str
    seconds: float
    megabytes: float


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


def hung(status: int) -> bool:
    """True if ``limit_time`` ended a process."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGPROF)


def place_of(error: BaseException) -> str:
    """File and line of our own code that an error passed last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "fuxictr_loopfm" in f.filename or "data_prep" in f.filename]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def call(function: Callable[[], object]) -> tuple[str, str]:
    """(kind, text) of a call in this process."""
    try:
        function()
    except LoopFMError as error:
        return "refused", str(error)
    except BaseException as error:
        return "raised", f"{type(error).__name__} at {place_of(error)}: {error}"
    return "fine", ""


def in_a_cell(
    function: Callable[[], object], *, memory: int = MEMORY, seconds: int = SECONDS
) -> Outcome:
    """Call ``function`` in a fork of this process that may map ``memory`` bytes more."""
    receive, send = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(receive)
        try:
            limit_memory(memory)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            limit_time(seconds)
            kind, text = call(function)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            os.write(send, f"{kind}\0{grown}\0{text}"[:60_000].encode("utf-8", "replace"))
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as stream:
        answer = stream.read().decode("utf-8", "replace")
    status = os.waitpid(child, 0)[1]
    took = time.monotonic() - started
    if answer:
        kind, grown, text = answer.split("\0", 2)
        return Outcome(kind, text, took, float(grown))
    if hung(status):
        return Outcome("hung", f"after {seconds} s", took, 0.0)
    return Outcome("died", f"with status {status}", took, 0.0)
