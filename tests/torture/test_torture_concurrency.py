"""Processes at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.__main__ import run_apart


@pytest.mark.slow
def test_an_artifact_is_built_once_and_never_read_half(tmp_path: Path) -> None:
    section = run_apart("concurrency", tmp_path, short=True)
    assert section.survivors == []
    assert sum("needed by 8 processes" in what for what in section.tried) == 6
    reads = [number for what, number in section.tried.items() if what.startswith("reads")]
    assert len(reads) == 4 and min(reads) >= 12
    assert section.tried["loader workers"] == 2
