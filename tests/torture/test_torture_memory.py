"""The stated memory bounds at small sizes; they are those of the documentation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from fuxictr_loopfm.prepared import dataset as events
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from tests.integration.planted import write_log
from tests.torture import memory
from tests.torture.__main__ import environment, run_apart

SCALE = memory.ROOT / "docs" / "scale.md"


@pytest.mark.slow
def test_every_stage_keeps_to_its_bound(tmp_path: Path) -> None:
    section = run_apart("memory", tmp_path, short=True)
    assert section.survivors == []
    assert section.tried["stages under their bound"] == 2 * len(memory.BOUNDS) == 22
    assert section.tried["stages with too little memory"] == 2 * (22 - 2)


TOO_LOW = """
import sys
from pathlib import Path
from tests.torture import memory
from tests.torture.section import Profile

memory.BOUNDS, memory.SIZES = {"prepare": memory.Bound(4, 0, refuses=False)}, (10_000,)
print(memory.torture(Profile(Path(sys.argv[1]))).survivors)
"""


@pytest.mark.slow
def test_a_bound_that_is_too_low_is_found(tmp_path: Path) -> None:
    # Not in this process, whose pools of threads would not exist in a fork.
    command = [sys.executable, "-c", TOO_LOW, str(tmp_path)]
    found = subprocess.run(
        command, cwd=memory.ROOT, env=environment("memory"), stdout=subprocess.PIPE, check=True
    )
    (survivor,) = ast.literal_eval(found.stdout.decode().splitlines()[-1])
    assert memory.OUT_OF_MEMORY in survivor


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
