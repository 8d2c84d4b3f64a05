"""How many runs fit this machine side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fuxictr_loopfm.evidence.benchmark.runner import Entry

# Libraries and a small model take some 0.6 GiB, and encoding, which takes the most, at most 300
# bytes an event (docs/scale.md, "Memory bounds"). Wider data sets take more: say --jobs 1 where
# they do not fit.
RUN_BYTES = 1 << 30
EVENT_BYTES = 400
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def fitting_jobs(entries: Sequence[Entry], events: int) -> int:
    """min(cores / threads of a run, available memory / estimated bytes of a run), at least 1.

    A run is taken to need ``RUN_BYTES`` and ``EVENT_BYTES`` for each event of the log. On a GPU it
    is one run at a time, because what fits beside it there is not known.

    Args:
        entries: what is to be run.
        events: rows of the prepared data set.
    """
    if any(entry.experiment.params["gpu"] >= 0 for entry in entries):
        return 1
    threads = max((entry.experiment.keys.threads for entry in entries), default=1)
    by_cores = _cores() // threads
    by_memory = _available_bytes() // (RUN_BYTES + EVENT_BYTES * events)
    return max(min(by_cores, by_memory), 1)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _available_bytes() -> int:
    """Memory that is free or can be freed, within the control group where there is one.

    Where the system does not say, nothing counts as available.
    """
    found = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) << 10)
        limit = (_CONTROL_GROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (_CONTROL_GROUP / "memory.current").read_text(encoding="ascii")
        if limit != "max":
            found.append(int(limit) - int(used))
    except (OSError, ValueError):
        pass  # no Linux, or no control group of version 2
    return max(min(found, default=0), 0)
