"""What a run depends on besides its data: versions, machine and commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]


def collect_environment() -> dict[str, Any]:
    """Versions, processor and commit that a reader needs to reproduce a run."""
    return {
        "python": platform.python_version(),
        **{name: _installed(name) for name in ("torch", "fuxictr", "numpy")},
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "git_commit": _git_commit(),
    }


def utc_now() -> str:
    """The current time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), flags=re.MULTILINE)
        if match:
            return match.group(1).strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", "-C", str(_PACKAGE), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _git_commit() -> str:
    """The commit the package was run from, ending in "-dirty" after changes; "" outside git.

    An installed package may lie in somebody else's repository, hence the first question.
    """
    if _git("ls-files", "--error-unmatch", "errors.py") is None:
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or ""
