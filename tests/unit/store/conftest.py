"""Fixtures of the store tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_store import build


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The folder of the small store."""
    build(tmp_path / "store")
    return tmp_path / "store"
