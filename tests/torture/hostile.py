"""Section ``hostile``: named attacks, each refused with a message and without being run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.torture import forked, hostile_files, hostile_h5, hostile_tables, hostile_text
from tests.torture.hostile_attack import Attack
from tests.torture.section import Profile, Section

# A refusal takes what the file takes, and little more; but packed text is refused beyond 64 times
# its file, some 300 MB of the largest one, and is then held about twice: as read, and as decoded.
MOST_MEGABYTES = 640


def attacks(folder: Path, size: int) -> Iterator[Attack]:
    """Every attack, its files written below ``folder``.

    Args:
        folder: empty; it also holds the canary that a payload would leave.
        size: bytes of the largest bombs.
    """
    yield from hostile_text.attacks(folder)
    yield from hostile_files.attacks(folder)
    yield from hostile_h5.attacks(folder)
    yield from hostile_tables.attacks(folder, size)


def problems(attack: Attack, outcome: forked.Outcome, canary: Path) -> list[str]:
    """Why an attack counts as survived; empty if it was beaten off."""
    found = []
    wanted = "fine" if attack.harmless else "refused"
    if outcome.kind != wanted:
        found.append(f"expected {wanted}, {outcome.kind}: {outcome.text[:300]}")
    elif not attack.harmless and attack.names not in outcome.text:
        found.append(f"the message does not name {attack.names}: {outcome.text[:300]}")
    if len(outcome.text) > 4_000:
        found.append(f"a message of {len(outcome.text)} characters")
    if outcome.megabytes > MOST_MEGABYTES:
        found.append(f"took {outcome.megabytes:.0f} MB")
    if canary.exists():
        canary.unlink()
        found.append("the payload ran")
    if attack.untouched is not None and attack.untouched.read_text() != "precious":
        found.append(f"{attack.untouched} was changed")
    return found


def torture(profile: Profile) -> Section:
    """Run every attack; it ends within its time and memory, refused, with nothing executed."""
    section = Section("Hostile input")
    folder = profile.folder / "hostile"
    folder.mkdir()
    worst, slowest = 0.0, 0.0
    for attack in attacks(folder, profile.pick(64 << 20, 1 << 30)):
        outcome = forked.in_a_cell(attack.run, folder / "output.txt", seconds=30)
        section.count(attack.kind)
        worst, slowest = max(worst, outcome.megabytes), max(slowest, outcome.seconds)
        for problem in problems(attack, outcome, folder / "canary"):
            section.survivors.append(f"{attack.kind}: {attack.name}: {problem}")
    section.notes.append(
        f"each in a process that may map 1 GiB more; the most memory one took is {worst:.0f} MB, "
        f"the most time {slowest:.1f} s"
    )
    return section
