"""The attacks in the short profile, and that a success of one would be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuxictr_loopfm.errors import DataError
from tests.torture import forked, hostile
from tests.torture.hostile_attack import Attack
from tests.torture.section import Profile


@pytest.mark.slow
def test_no_attack_succeeds(tmp_path: Path) -> None:
    section = hostile.torture(Profile(tmp_path))
    assert section.survivors == []
    assert sum(section.tried.values()) >= 350 and len(section.tried) == 10


def _refuse() -> object:
    raise DataError("log.csv: expected a log, found a bomb")


def _survived(attack: Attack, folder: Path) -> str:
    outcome = forked.in_a_cell(attack.run, folder / "output.txt", memory=256 << 20, seconds=1)
    return "; ".join(hostile.problems(attack, outcome, folder / "canary"))


def test_what_counts_as_survived(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    def run_payload() -> object:
        canary.write_text("")
        return _refuse()

    def overwrite() -> object:
        (tmp_path / "kept").write_text("gone")
        return _refuse()

    def attack(run: object, names: str = "log.csv", **more: object) -> str:
        (tmp_path / "kept").write_text("precious")
        return _survived(Attack("k", "n", run, names, **more), tmp_path)  # type: ignore[arg-type]

    assert attack(_refuse) == ""
    assert "does not name other.csv" in attack(_refuse, "other.csv")
    assert "expected refused, fine" in attack(lambda: None)
    assert "expected fine, refused" in attack(_refuse, harmless=True)
    assert "ValueError at" in attack(lambda: int("x"))
    assert "MemoryError" in attack(lambda: bytearray(1 << 30))
    assert "hung" in attack(lambda: max(iter(int, 1)))
    assert "the payload ran" in attack(run_payload) and not canary.exists()
    assert "was changed" in attack(overwrite, untouched=tmp_path / "kept")
