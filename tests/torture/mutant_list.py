"""Mutants of the rule, as ``mutants.yaml`` beside this module has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Mutant:
    """A change of one place of the package.

    Attributes:
        name: what it does wrong.
        file: inside the package.
        old, new: exact text before and after; before, it must be in the file once.
        tests: the tests that must notice, narrow ones first.
        core: tried in CI too.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    core: bool = False


def _load() -> tuple[Mutant, ...]:
    text = Path(__file__).with_name("mutants.yaml").read_text(encoding="utf-8")
    return tuple(
        Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in yaml.safe_load(text)
    )


MUTANTS = _load()
