"""Core mutants die; one that nobody notices, or that is out of date, is a survivor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import mutants
from tests.torture.mutant_list import MUTANTS, Mutant
from tests.torture.section import Profile

FAST = "tests/unit/store/test_store_keys.py"


@pytest.mark.slow
def test_core_mutants_die_and_survivors_are_told_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashing = {"file": "store/keys.py", "tests": (FAST,), "core": True}
    text = "text with NUL, integers"
    others = (
        Mutant("harmless", old=text, new="text with NUL; integers", **hashing),
        Mutant("broken", old="import pandas as pd", new="import pandas as", **hashing),
        Mutant("old", old="no such text", new="", **hashing),
    )
    monkeypatch.setattr(mutants, "MUTANTS", (*MUTANTS, *others))
    section = mutants.torture(Profile(tmp_path))
    assert [line.split(":")[0] for line in section.survivors] == ["old", "harmless", "broken"]
    assert "out of date" in section.survivors[0] and "did not run" in section.survivors[2]
    died = sum(": died in" in note for note in section.notes)
    assert died == section.tried["mutants"] - 3 >= 6


def test_every_mutant_is_current_and_changes_something() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30
    for mutant in MUTANTS:
        assert mutant.old != mutant.new, mutant.name
        assert mutants.count_of(mutants.ROOT, mutant) == 1, mutant.name
        for test in mutant.tests:
            assert (mutants.ROOT / test.split("::")[0]).is_file(), test
