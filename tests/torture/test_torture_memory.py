"""The stated memory bounds at small sizes; they are those of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from fuxictr_loopfm.prepared import dataset as events
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from tests.integration.planted import write_log
from tests.torture import memory
from tests.torture.__main__ import run_apart
from tests.torture.forked import Ended
from tests.torture.section import Section

SCALE = memory.ROOT / "docs" / "scale.md"


@pytest.mark.slow
def test_every_stage_keeps_to_its_bound(tmp_path: Path) -> None:
    section = run_apart("memory", tmp_path, short=True)
    assert section.survivors == []
    assert section.tried["stages under their bound"] == 2 * len(memory.BOUNDS) == 22
    assert section.tried["stages with too little memory"] == 2 * (22 - 2)


def test_a_bound_that_is_too_low_is_found_and_so_is_a_stage_that_hides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def survivors(code: int, text: str, answer: object = None) -> list[str]:
        monkeypatch.setattr(memory, "run", lambda *_, **__: Ended(code, text, 0.1, answer))
        log = memory.Log(tmp_path, 10_000, Section("Memory"))
        log.within("extract") if answer is None else log.refused("extract", 1)
        return log.section.survivors

    (survivor,) = survivors(1, f"error: {memory.OUT_OF_MEMORY}")
    assert survivor.endswith(f"ended with 1: error: {memory.OUT_OF_MEMORY}")
    refusal = f"error: {memory.OUT_OF_MEMORY}. Use fewer --workers"
    assert survivors(1, refusal, {}) == []
    for code, text in ((0, refusal), (1, "error: a file"), (1, f"Traceback\n{refusal}")):
        assert len(survivors(code, text, {})) == 1


def test_the_documentation_states_these_bounds() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \| ([\d,]+) \|$", SCALE.read_text(), re.MULTILINE)
    stated = {name: (int(base), int(each.replace(",", ""))) for name, base, each in rows}
    assert stated == {n: (bound.base, bound.per_event) for n, bound in memory.BOUNDS.items()}


def test_too_little_memory_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 320064 failed")

    prepared: PreparedDataset = write_log(tmp_path / "log_s1")
    monkeypatch.setattr(events.pq, "read_table", full)
    with pytest.raises(MemoryError):
        prepared.array("user_id")
