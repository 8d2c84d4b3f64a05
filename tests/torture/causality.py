"""Histories against a brute-force join: the property tests of ``tests/property``, many times over.

In CI they are part of the suite as they are, so here only one small file is run, to see that
running and counting them works.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.torture.section import Profile, Section

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "property"
SMALL = TESTS / "test_structuring_equivalence.py"
CORE = "test_a_batch_holds_what_the_brute_force_join_says"
LEAST_CASES = 2_000
_TEST = re.compile(r"^\S*::(\w+)(?:\[.*\])?:$")
_CASES = re.compile(r"^\s+- (\d+) passing(?: examples)?, (\d+) failing")
_OUTCOME = re.compile(r"^(?:FAILED|ERROR) .*")


@dataclass(frozen=True)
class Outcome:
    """What a run of property tests said.

    Attributes:
        cases: passing cases of each test by its name, as Hypothesis counted them.
        problems: failed tests, or why nothing ran.
        passed: tests that passed, those without Hypothesis among them.
    """

    cases: dict[str, int]
    problems: list[str]
    passed: int


def run_properties(where: Path, hypothesis_profile: str, seed: int, log: Path) -> Outcome:
    """Run property tests in a process of their own.

    Args:
        where: a test file or a folder of them.
        hypothesis_profile: see ``tests/conftest.py``.
        seed: of Hypothesis.
        log: where pytest's output goes.
    """
    command = [sys.executable, "-m", "pytest", str(where), "-q", "-rfE", "-p", "no:cacheprovider"]
    command += [f"--hypothesis-seed={seed}", "--hypothesis-show-statistics"]
    # The variable, because the option is read too late for what decorators take from the profile.
    environment = {**os.environ, "HYPOTHESIS_PROFILE": hypothesis_profile}
    environment.pop("CI", None)  # which would take the seed away
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    log.write_text(found.stdout + found.stderr, encoding="utf-8")
    return _read(found.stdout, found.returncode)


def _read(output: str, code: int) -> Outcome:
    cases: dict[str, int] = {}
    problems, name = [], ""
    for line in output.splitlines():
        if match := _TEST.match(line):
            name = match.group(1)
        elif match := _CASES.match(line):
            cases[name] = cases.get(name, 0) + int(match.group(1))
        elif _OUTCOME.match(line):
            problems.append(line)
    if code and not problems:
        problems.append(f"pytest ended with code {code}: {output[-300:]}")
    passed = re.search(r"(\d+) passed", output)
    return Outcome(cases, problems, int(passed.group(1)) if passed else 0)


def torture(profile: Profile) -> Section:
    """The nightly profile of all property tests; in CI a few cases of one file."""
    section = Section("Histories equal a brute-force join")
    where, name = (TESTS, "nightly") if profile.long else (SMALL, "loopfm")
    outcome = run_properties(where, name, profile.seed, profile.folder / "pytest.log")
    section.survivors += outcome.problems
    for test, cases in outcome.cases.items():
        section.count(test.removeprefix("test_").replace("_", " "), cases)
    section.notes.append(f"{outcome.passed} tests passed; Hypothesis' profile: {name}")
    if profile.long and outcome.cases.get(CORE, 0) < LEAST_CASES:
        section.survivors.append(
            f"{CORE}: expected {LEAST_CASES} cases or more, ran {outcome.cases.get(CORE, 0)}"
        )
    return section
