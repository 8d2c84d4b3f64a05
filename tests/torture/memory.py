"""Every stage within its stated memory bound, at two sizes; and far below it, a clear refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.section import Profile, Section

MIB = 1 << 20
SIZES, LONG_SIZES = (20_000, 80_000), (500_000, 2_000_000)
ROOT = Path(__file__).resolve().parents[2]
# With so little no stage can do its work: a few MiB, and this part of the bound.
LEAST_BYTES, TOO_LITTLE = 3 * MIB, 0.25
OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True)
class Bound:
    """Address space that a stage maps beyond the process with its libraries.

    Attributes:
        base: MiB.
        per_event: bytes per event of the log.
        refuses: False where a library ends the process itself once it is at work: arrow's csv
            reader and polars abort, and polars may wait for a thread that never came up.
    """

    base: int
    per_event: int
    refuses: bool = True

    def bytes(self, events: int) -> int:
        """The bound for a log of this size."""
        return self.base * MIB + self.per_event * events


# As docs/scale.md states them.
BOUNDS: dict[str, Bound] = {
    "prepare": Bound(64, 400, refuses=False),
    "encode": Bound(192, 300, refuses=False),
    "teacher": Bound(96, 56),
    "extract": Bound(96, 96),
    "structure": Bound(96, 96),
    "structure_limited": Bound(176, 0),
    "pointers": Bound(96, 48),
    "vertical": Bound(112, 150),
    "export": Bound(96, 380),
    "verify": Bound(96, 210),
    "forget": Bound(160, 48),
}


class Forks:
    """A process with all libraries loaded that forks a child for every run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        environment = {
            **os.environ,
            # Pools that reserve address space in advance, per thread or in huge pieces.
            "MALLOC_ARENA_MAX": "1",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "POLARS_MAX_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.memory_stages"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, stage: str, folder: Path, rows: int, limit: int | None
    ) -> tuple[int, dict[str, Any], str]:
        """Exit code (negative: the signal), what it took, what it printed."""
        facts, log = self._folder / "facts.json", self._folder / "stage.log"
        facts.unlink(missing_ok=True)
        job = {"stage": stage, "folder": str(folder), "rows": rows, "limit": limit}
        job |= {"facts": str(facts), "log": str(log)}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        taken = json.loads(facts.read_text()) if facts.is_file() else {}
        return code, taken, log.read_text(errors="replace")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def torture(profile: Profile) -> Section:
    """All stages in order, first with too little memory, then within the bound."""
    section = Section("Memory: every stage within its stated bound")
    forks = Forks(profile.folder)
    try:
        for rows in LONG_SIZES if profile.long else SIZES:
            folder = profile.folder / str(rows)
            folder.mkdir()
            code, _, said = forks.run("data", folder, rows, None)
            assert code == 0, said
            for stage, bound in BOUNDS.items():
                limits = [LEAST_BYTES]
                if bound.refuses:
                    limits.append(int(bound.bytes(rows) * TOO_LITTLE))
                for limit in limits:
                    _refused(forks, stage, folder, rows, limit, section)
                _within(forks, stage, folder, rows, section)
    finally:
        forks.close()
    return section


def _within(forks: Forks, stage: str, folder: Path, rows: int, section: Section) -> None:
    limit = BOUNDS[stage].bytes(rows)
    code, taken, said = forks.run(stage, folder, rows, limit)
    section.count("stages under their bound")
    if code:
        section.survivors.append(
            f"{stage}, {rows} events: expected to do with {limit >> 20} MiB, ended with {code}: "
            f"{said.strip()[-300:]}"
        )
        return
    section.notes.append(
        f"{stage}, {rows} events: {taken['mapped'] / MIB:.0f} of {limit >> 20} MiB mapped, "
        f"{taken['resident'] / MIB:.0f} resident, {taken['cpu']:.1f} s CPU"
    )


def _refused(
    forks: Forks, stage: str, folder: Path, rows: int, limit: int, section: Section
) -> None:
    code, _, said = forks.run(stage, folder, rows, limit)
    section.count("stages with too little memory")
    last = said.strip().splitlines()[-1:] or [""]
    if code != 1 or OUT_OF_MEMORY not in last[0] or "Traceback" in said:
        section.survivors.append(
            f"{stage}, {rows} events with {limit >> 20} MiB: expected one message that it is "
            f"{OUT_OF_MEMORY}, found code {code}: {said.strip()[-300:]}"
        )
