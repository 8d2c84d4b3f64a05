"""What the tests of the preparation scripts share: a script that works, and one that refuses."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _x1 import Published

from fuxictr_loopfm.prepared.dataset import PreparedDataset


def prepared_by(script: Any, raw: Path, out: Path, *more: str) -> PreparedDataset:
    """The data set that a script makes of a folder of raw files."""
    assert script.cli(["--data", str(raw), "--out", str(out), *more]) == 0
    return PreparedDataset.load(out)


def error_of(
    capsys: pytest.CaptureFixture[str], script: Any, raw: Path, out: Path, *more: str
) -> str:
    """The message of a script that refuses its raw files and writes nothing."""
    capsys.readouterr()
    assert script.cli(["--data", str(raw), "--out", str(out), *more]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert not out.exists()
    return said


def windows(prepared: PreparedDataset, name: str) -> list[list[str]]:
    """The tokens of a sequence before each event."""
    values, end, length = prepared.sequence(name)
    bounds = zip(end, length.astype(np.int64), strict=True)
    return [[token.decode() for token in values[stop - n : stop]] for stop, n in bounds]


def published(raw: Path, **rows: int) -> dict[str, Published]:
    """Small files as if they were the published ones: checksum and rows of ``<name>.csv``."""
    return {
        f"{name}.csv": Published(hashlib.md5((raw / f"{name}.csv").read_bytes()).hexdigest(), count)
        for name, count in rows.items()
    }
