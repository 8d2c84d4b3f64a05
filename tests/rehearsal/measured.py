"""Run one stage in a process of its own: wall and CPU time, peak memory, disk, under a limit."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Measured:
    """What a process took.

    Attributes:
        code: exit code; negative is the signal that ended it.
        wall, cpu: seconds, CPU of all threads and child processes.
        peak_bytes: largest resident memory, mapped file pages included; never less than what the
            calling process held when it started the other.
        disk_bytes: what the process left on disk, less what it removed.
        disk_peak_bytes: the most it held on disk, sampled.
    """

    code: int
    wall: float
    cpu: float
    peak_bytes: int
    disk_bytes: int
    disk_peak_bytes: int


def run_measured(
    command: Sequence[str], *, cwd: Path, log: Path, disk: Path, limit_bytes: int
) -> Measured:
    """Run ``command`` with at most ``limit_bytes`` of address space (RLIMIT_AS).

    Args:
        command: a program and its arguments.
        cwd: folder to run it in.
        log: file that gets what it prints.
        disk: folder whose size is watched.
        limit_bytes: address space counts more than resident memory: every mapping is in it.
    """
    before = peak = folder_bytes(disk)
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        # From outside, because memory is what is measured: a hook in the child costs a fork.
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit_bytes, limit_bytes))
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, folder_bytes(disk))
            time.sleep(_POLL_SECONDS)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    after = folder_bytes(disk)
    return Measured(
        code=process.returncode,
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
        disk_bytes=after - before,
        disk_peak_bytes=max(peak, after) - before,
    )


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under ``folder``; files that vanish meanwhile count as nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
        except OSError:
            continue
    return total
