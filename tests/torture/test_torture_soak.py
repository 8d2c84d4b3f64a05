"""The soak, a few days long; and that its judgement can be unfavourable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.torture import soak
from tests.torture.__main__ import run_apart
from tests.torture.process_state import ProcessState
from tests.torture.section import Section


@pytest.mark.slow
def test_nothing_is_left_over_from_a_day(tmp_path: Path) -> None:
    section = run_apart("soak", tmp_path, short=True)
    assert section.survivors == []
    assert section.tried["days"] == soak.SHORT_DAYS
    assert section.tried["users deleted"] == soak.SHORT_DAYS // soak.FORGET_EVERY
    assert section.tried["outdated artifacts deleted"] >= 3 * (soak.SHORT_DAYS - 1)


def verdict(*states: ProcessState) -> list[str]:
    section = Section("soak")
    soak.judge(list(states), section)
    return section.survivors


def test_a_leak_is_seen() -> None:
    state = ProcessState(600 << 20, 9, 19, 0, 0, 50, 290_000)
    days = [state] * 12
    assert verdict(*days) == []
    for name in soak.COUNTS:
        grown = replace(state, **{name: getattr(state, name) + 1 + (name == "threads")})
        assert verdict(*days, grown)[0].startswith(name)
    leaking = [replace(state, resident=state.resident + (n << 21)) for n in range(12)]
    assert "resident memory" in verdict(*leaking)[0]
    slowly = [replace(state, resident=state.resident + (n << 19)) for n in range(200)]
    assert "resident memory" in verdict(*slowly)[0]


def test_a_reading_sees_what_is_open(tmp_path: Path) -> None:
    before = ProcessState.read(tmp_path)
    with open(tmp_path / "open", "w") as file:
        file.write("five!")
        file.flush()
        now = ProcessState.read(tmp_path)
    assert now.descriptors == before.descriptors + 1
    assert (now.files, now.bytes) == (before.files + 1, before.bytes + 5)
