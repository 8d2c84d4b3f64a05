"""The short profile of section ``same_bits``, and that its comparison sees a difference."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests.torture.same_bits import CASES, RESULTS, differences, torture
from tests.torture.section import Profile


@pytest.mark.slow
def test_same_seed_same_bits(tmp_path: Path) -> None:
    section = torture(Profile(tmp_path))
    assert section.survivors == []
    assert section.tried["runs in processes of their own"] == 2 * len(CASES)
    assert section.tried["files compared"] > 40 * len(CASES)


def test_the_comparison_sees_every_difference() -> None:
    first = {name: "a" for name in RESULTS} | {"files": {"one": "1", "two": "2"}}
    assert differences(first, copy.deepcopy(first)) == []
    for name in RESULTS:
        assert len(differences(first, first | {name: "b"})) == 1
    for files in ({"one": "1"}, {"one": "1", "two": "3"}, {"one": "1", "two": "2", "three": "3"}):
        other = first | {"files": files}
        assert len(differences(first, other)) == 1
        assert differences(first, other, stored=False) == []
