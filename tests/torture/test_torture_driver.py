"""The driver runs each section in a process of its own and reports what survived."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.torture import __main__ as driver
from tests.torture.section import Profile, Section
from tests.torture.torture_report import Result, render


def test_every_section_is_a_module_with_a_test_of_its_own() -> None:
    folder = Path(__file__).parent
    for name in driver.SECTIONS:
        assert importlib.util.find_spec(f"tests.torture.{name}"), name
        assert (folder / f"test_torture_{name}.py").is_file(), name


def test_the_report_counts_attempts_and_names_survivors() -> None:
    kills = Section("Kills", {"export": 100, "extract": 1_100}, ["a store was half-written"])
    text = render([Result("kills", kills, 2.0), Result("x", Section("Fine"), 1.0)], 2.5, short=True)
    assert "1,200 attempts in 2 sections" in text and "**Survivors: 1.**" in text
    assert "| Kills | 1,200 | 1 | 2.0 |" in text
    assert "- **survived:** a store was half-written" in text
    assert "Survivors: none." in render([Result("x", Section("Fine"), 1.0)], 1.0, short=False)


@pytest.mark.parametrize(("survivors", "code"), [([], 0), (["something"], 1)])
def test_a_survivor_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survivors: list[str], code: int
) -> None:
    def answer(name: str, _options: Any) -> Result:
        return Result(name, Section(name, {"tries": 1}, survivors), 0.0)

    monkeypatch.setattr(driver, "_timed", answer)
    assert driver.main(["--only", "fuzz", "kills", "--out", str(tmp_path)]) == code
    text = (tmp_path / "report.md").read_text()
    assert text.index("## kills") < text.index("## fuzz"), "the longest first"


def test_a_section_that_dies_is_a_survivor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.sys, "executable", "false")
    assert driver.main(["--only", "fuzz", "--out", str(tmp_path)]) == 1
    assert "ended with code 1, see fuzz.log" in (tmp_path / "report.md").read_text()


def test_one_section_writes_what_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def section(_name: str, profile: Profile) -> Section:
        assert profile.folder.is_dir() and not profile.long
        return Section("Fuzz", {"tries": profile.pick(3, 9)})

    monkeypatch.setattr(driver, "run_section", section)
    assert driver.main(["--one", "fuzz", "--short", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "fuzz.json").read_text())["tried"] == {"tries": 3}
