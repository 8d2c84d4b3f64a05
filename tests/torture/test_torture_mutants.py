"""Core mutants die; one that nobody notices, or that is out of date, is a survivor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.torture import mutants
from tests.torture.mutant_list import MUTANTS, Mutant
from tests.torture.section import Profile

FAST = "tests/unit/store/test_store_keys.py"


@pytest.mark.slow
def test_core_mutants_die(tmp_path: Path) -> None:
    section = mutants.torture(Profile(tmp_path))
    assert section.survivors == []
    assert section.tried["mutants"] >= 6


@pytest.mark.slow
def test_survivors_are_told_from_the_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashing, core = "store/keys.py", True
    tried = (
        Mutant("harmless", hashing, "text with NUL, integers", "text with NUL; integers", (FAST,)),
        Mutant("broken", hashing, "import pandas as pd", "import pandas as", (FAST,)),
        Mutant("old", hashing, "no such text", "", (FAST,)),
        Mutant("dead", hashing, "np.uint64(27)", "np.uint64(26)", (FAST,)),
    )
    monkeypatch.setattr(mutants, "MUTANTS", tuple(replace(each, core=core) for each in tried))
    section = mutants.torture(Profile(tmp_path))
    assert section.tried == {"mutants": 4}
    assert [line.split(":")[0] for line in section.survivors] == ["old", "harmless", "broken"]
    assert "out of date" in section.survivors[0] and "did not run" in section.survivors[2]
    assert any(note.startswith("dead: died") for note in section.notes)


def test_every_mutant_is_current_and_changes_something() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30
    for mutant in MUTANTS:
        assert mutant.old != mutant.new, mutant.name
        assert mutants.count_of(mutants.ROOT, mutant) == 1, mutant.name
        for test in mutant.tests:
            assert (mutants.ROOT / test.split("::")[0]).is_file(), test
