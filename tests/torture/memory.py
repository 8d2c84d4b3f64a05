"""Every stage within its stated memory bound, at two sizes; and far below it, a clear refusal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.torture.forked import Ended, be_a_fork_server, run
from tests.torture.memory_stages import STAGES, make_data, measured
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


@dataclass(frozen=True)
class Log:
    """A log of so many events, and runs of the stages on it.

    Attributes:
        folder: of it and of what is made of it.
        rows: events.
        section: where to count and report.
    """

    folder: Path
    rows: int
    section: Section

    def run(self, stage: str, limit: int) -> Ended:
        """A stage in a process with all libraries loaded that may map ``limit`` bytes more."""
        output = self.folder / "stage.log"
        return run(lambda: measured(STAGES[stage], self.folder), output, memory=limit, seconds=300)

    def within(self, stage: str) -> None:
        """With what the bound allows it does its work."""
        limit = BOUNDS[stage].bytes(self.rows)
        ended = self.run(stage, limit)
        self.section.count("stages under their bound")
        if ended.answer is None:
            self.section.survivors.append(
                f"{stage}, {self.rows} events: expected to do with {limit >> 20} MiB, ended with "
                f"{ended.code}: {ended.text.strip()[-300:]}"
            )
            return
        taken = ended.answer
        self.section.notes.append(
            f"{stage}, {self.rows} events: {taken['mapped'] / MIB:.0f} of {limit >> 20} MiB mapped,"
            f" {taken['resident'] / MIB:.0f} resident, {taken['cpu']:.1f} s CPU"
        )

    def refused(self, stage: str, limit: int) -> None:
        """With far too little it says so."""
        ended = self.run(stage, limit)
        self.section.count("stages with too little memory")
        last = ended.text.strip().splitlines()[-1:] or [""]
        if ended.code != 1 or OUT_OF_MEMORY not in last[0] or "Traceback" in ended.text:
            self.section.survivors.append(
                f"{stage}, {self.rows} events with {limit >> 20} MiB: expected one message that it "
                f"is {OUT_OF_MEMORY}, found code {ended.code}: {ended.text.strip()[-300:]}"
            )


def torture(profile: Profile) -> Section:
    """All stages in order, first with too little memory, then within the bound."""
    section = Section("Memory: every stage within its stated bound")
    be_a_fork_server()
    for rows in LONG_SIZES if profile.long else SIZES:
        log = Log(profile.folder / str(rows), rows, section)
        made = run(lambda log=log: make_data(log.folder, log.rows), log.folder / "data.log")
        assert made.code == 0, made.text
        for stage, bound in BOUNDS.items():
            log.refused(stage, LEAST_BYTES)
            if bound.refuses:
                log.refused(stage, int(bound.bytes(rows) * TOO_LITTLE))
            log.within(stage)
    return section
