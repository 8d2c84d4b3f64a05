"""Property tests are run and counted, and one that fails is a survivor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import causality
from tests.torture.section import Profile

FAILING = """
from hypothesis import given, settings, strategies as st

@settings(max_examples=20)
@given(st.integers(0, 5))
def test_fine(number):
    assert number < 6

@given(st.integers(0, 5))
def test_wrong(number):
    assert number < 5
"""


@pytest.mark.slow
def test_causality_runs_and_counts_cases(tmp_path: Path) -> None:
    section = causality.torture(Profile(tmp_path))
    assert section.survivors == []
    assert len(section.tried) == 3 and sum(section.tried.values()) > 500


def test_a_failing_property_is_a_survivor(tmp_path: Path) -> None:
    path = tmp_path / "test_two.py"
    path.write_text(FAILING)
    outcome = causality.run_properties(path, "loopfm", 1, tmp_path / "log")
    assert [problem.split(" - ")[0].split("::")[1] for problem in outcome.problems] == [
        "test_wrong"
    ]
    assert outcome.cases["test_fine"] == 6 and outcome.passed == 1


@pytest.mark.parametrize("cases", [0, 1_999])
def test_too_few_cases_are_a_survivor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: int
) -> None:
    outcome = causality.Outcome({causality.CORE: cases}, [], 1)
    monkeypatch.setattr(causality, "run_properties", lambda *_: outcome)
    (survivor,) = causality.torture(Profile(tmp_path, long=True)).survivors
    assert f"ran {cases}" in survivor


def test_a_folder_without_tests_is_a_survivor(tmp_path: Path) -> None:
    outcome = causality.run_properties(tmp_path, "loopfm", 1, tmp_path / "log")
    assert outcome.problems and outcome.passed == 0
