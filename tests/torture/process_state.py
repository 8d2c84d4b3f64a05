"""What this process holds on to: memory, files, threads, children."""

from __future__ import annotations

import ctypes
import gc
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class ProcessState:
    """One reading.

    Attributes:
        resident: bytes, after a garbage collection and after malloc gave back what it could.
        descriptors: open files, sockets and pipes.
        threads: of the process.
        children: processes that it started and that still run or were not waited for.
        shared: descriptors and mappings of shared memory.
        files: under the watched folders, lock files included.
        bytes: of those files.
    """

    resident: int
    descriptors: int
    threads: int
    children: int
    shared: int
    files: int
    bytes: int

    @classmethod
    def read(cls, *folders: Path) -> ProcessState:
        """Now; the watched folders should not change meanwhile."""
        gc.collect()
        # Without it freed pages that malloc keeps for later would count as held.
        ctypes.CDLL(None).malloc_trim(0)
        own = Path("/proc/self")
        pages = int((own / "statm").read_text().split()[1])
        descriptors = [os.path.realpath(path) for path in (own / "fd").iterdir()]
        maps = (own / "maps").read_text()
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        children = [each.read_text().split() for each in own.glob("task/*/children")]
        return cls(
            resident=pages * os.sysconf("SC_PAGESIZE"),
            descriptors=len(descriptors),
            threads=len(list((own / "task").iterdir())),
            children=sum(map(len, children)),
            shared=len(re.findall(r"/dev/shm/", maps + " ".join(descriptors))),
            files=len(files),
            bytes=sum(path.stat().st_size for path in files),
        )


# What must not grow at all; memory and bytes on disk may wander.
COUNTS = tuple(
    entry.name for entry in fields(ProcessState) if entry.name not in ("resident", "bytes")
)
