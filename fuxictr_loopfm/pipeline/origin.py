"""Refusing an artifact that was made of something else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxictr_loopfm.errors import ProvenanceError


def require_origin(path: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse an artifact of another data set, teacher or compressor.

    Args:
        path: its manifest.
        expected, found: fingerprints and settings by key.
    Raises:
        ProvenanceError: names every key that differs.
    """
    problems = [
        f"{path}: {name}: expected {value}, found {found.get(name)}"
        for name, value in expected.items()
        if found.get(name) != value
    ]
    if problems:
        raise ProvenanceError(
            "\n".join(problems) + f"\nIt belongs to other data; delete {path.parent} to rebuild it."
        )
