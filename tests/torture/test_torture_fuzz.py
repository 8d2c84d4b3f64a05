"""The fuzzer in the short profile, and that it sees what it looks for."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from fuxictr_loopfm.errors import DataError
from tests.torture import forked, fuzz
from tests.torture.fuzz_targets import Target
from tests.torture.section import Profile


@pytest.mark.slow
def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    section = fuzz.torture(Profile(tmp_path))
    assert section.survivors == []
    assert len(section.tried) >= 25 and min(section.tried.values()) >= 20


def _refuse() -> object:
    raise DataError("log.csv: wrong")


def _bug() -> object:
    return {}["nothing"]


def _crash() -> object:
    return ctypes.string_at(0)


def _fill() -> object:
    return bytearray(4 << 30)


def _sleep() -> object:
    return time.sleep(60)


@pytest.mark.parametrize(
    ("reader", "words"),
    [(list, ""), (_refuse, ""), (_bug, "KeyError"), (_crash, "crashed"), (_fill, "MemoryError"),
     (_sleep, "hung")],
)  # fmt: skip
def test_what_a_batch_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Callable[[], Any], words: str
) -> None:
    monkeypatch.setattr(forked, "SECONDS", 1)

    def try_one(draw: st.DataObject) -> tuple[Callable[[], Any], str]:
        return reader, f"input {draw.draw(st.integers())}"

    tried, survivors = fuzz.run_batch(Target("any", try_one), 1, tmp_path / "journal")
    assert tried >= 1
    assert bool(survivors) is bool(words)
    assert all(words in line and "input" in line for _, line in survivors)


def test_a_seed_repeats_a_batch(tmp_path: Path) -> None:
    drawn: list[list[int]] = []
    for number in (1, 1, 2):
        path = tmp_path / "drawn"
        path.write_text("")

        def try_one(draw: st.DataObject, path: Path = path) -> tuple[Callable[[], Any], str]:
            with open(path, "a") as file:
                print(draw.draw(st.integers()), file=file)
            return list, ""

        fuzz.run_batch(Target("any", try_one), number, tmp_path / "journal")
        drawn.append([int(line) for line in path.read_text().split()])
    assert drawn[0] == drawn[1] != drawn[2]
