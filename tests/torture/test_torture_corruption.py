"""Damage to artifacts is found; the long profile tries more of the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.corruption import torture
from tests.torture.section import Profile


@pytest.mark.slow
def test_corruption_is_found(tmp_path: Path) -> None:
    section = torture(Profile(tmp_path))
    assert section.survivors == []
    assert section.tried["truncations"] >= 150 and section.tried["flipped bits"] >= 150
    assert section.tried["swaps and newer versions"] >= 18
    assert section.tried["refused by the reader"] >= 150
    assert section.tried["built again by the pipeline"] >= 20
