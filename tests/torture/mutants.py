"""Each mutant of the rule against the tests that should notice it: all must die.

Tried in a copy of the project, never in place.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.torture.mutant_list import MUTANTS, Mutant
from tests.torture.section import Profile, Section

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("fuxictr_loopfm", "tests", "data_prep", "model_zoo", "pyproject.toml")
PACKAGE = "fuxictr_loopfm"
# pytest's exit codes: of a mutant that does not even import, no test has said anything.
PASSED, FAILED = 0, 1


def torture(profile: Profile) -> Section:
    """Every mutant; in CI the core of the rule."""
    section = Section("No mutant of the rule survives")
    chosen = [mutant for mutant in MUTANTS if profile.long or mutant.core]
    copy = copy_project(profile.folder / "copy")
    current = [mutant for mutant in chosen if count_of(copy, mutant) == 1]
    for mutant in chosen:
        if mutant not in current:
            section.survivors.append(
                f"{mutant.name}: the mutant is out of date: expected its text once in "
                f"{mutant.file}, found it {count_of(copy, mutant)} times"
            )
    answers = run_mutants(copy, current, profile.folder)
    section.count("mutants", len(chosen))
    for name, code, seconds in answers:
        if name is None:
            if code != PASSED:
                section.survivors.append(
                    f"the tests fail without a mutant (code {code}), so they prove nothing: "
                    f"{last_lines(profile.folder / '00.log')}"
                )
            section.notes.append(f"the package as it is passes in {seconds:.1f} s")
        elif code != FAILED:
            said = "no test failed" if code == PASSED else f"the tests did not run (code {code})"
            section.survivors.append(f"{name}: {said}")
        else:
            section.notes.append(f"{name}: died in {seconds:.1f} s")
    if len(answers) != len(current) + 1:
        section.survivors.append(f"{len(current) + 1 - len(answers)} mutants were not tried")
    return section


def copy_project(target: Path) -> Path:
    """What the tests need, without what was compiled."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "records")
            shutil.copytree(source, target / name, ignore=ignore, symlinks=True)
        else:
            shutil.copy(source, target / name)
    return target


def count_of(copy: Path, mutant: Mutant) -> int:
    """How often the text that is to be changed is there."""
    return (copy / PACKAGE / mutant.file).read_text(encoding="utf-8").count(mutant.old)


def run_mutants(
    copy: Path, mutants: Sequence[Mutant], folder: Path
) -> list[tuple[str | None, int, float]]:
    """(name, exit code, seconds) of the package as it is (name None), then of each mutant."""
    every = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    unchanged = {"file": f"{PACKAGE}/__init__.py", "old": "", "new": "", "tests": every}
    plan: list[dict[str, Any]] = [{"number": 0, "name": None, **unchanged}]
    for number, mutant in enumerate(mutants, start=1):
        change = {"old": mutant.old, "new": mutant.new, "tests": list(mutant.tests)}
        entry = {"number": number, "name": mutant.name, "file": f"{PACKAGE}/{mutant.file}"}
        plan.append(entry | change)
    path = folder / "plan.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "mutants", "PYTHONPATH": str(copy)}
    runner = copy / "tests" / "torture" / "mutant_runner.py"
    with open(folder / "runner.log", "wb") as log:
        command = [sys.executable, str(runner), str(path)]
        subprocess.run(command, cwd=copy, env=environment, stdout=log, stderr=log)
    lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [(each["name"], each["code"], each["seconds"]) for each in found]


def last_lines(log: Path) -> str:
    """The end of pytest's output on one line."""
    return " / ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-4:])
