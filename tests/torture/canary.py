"""Labels that are coins: no method may predict them, and a method that is let cheat must.

A model that gets better than chance here has seen a label that it must not see, by whatever way:
histories, teacher, compressor, vocabulary or loader. The cheats show that the canary would notice.
"""

from __future__ import annotations

from tests.torture.noise import CANARIES, Chance, NoiseLoop, chance_of, leaking
from tests.torture.section import Profile, Section

SIGMAS = 3.0
SHORT = ("raw+label", "KD+LoopFM+label")
# Method and seconds ahead: the view's own second, or the next hour.
CHEATS = {
    "<= instead of <, raw+label": ("raw+label", 1),
    "<= instead of <, LoopFM+label": ("LoopFM+label", 1),
    "an hour ahead, raw+label": ("raw+label", 3600),
}


def torture(profile: Profile) -> Section:
    """Every method on coins, then the cheats."""
    section = Section("No method predicts coins")
    events, seeds = profile.pick(2_400, 6_000), profile.pick(1, 3)
    loops = [
        NoiseLoop(profile.folder / f"coins-{seed}", profile.seed + seed, events)
        for seed in range(seeds)
    ]
    for canary in CANARIES if profile.long else SHORT:
        found = chance_of(loops, canary)
        section.count("runs on coins", seeds)
        section.notes.append(f"{canary}: {shown(found)}")
        if abs(found.z) > SIGMAS:
            section.survivors.append(f"{canary} predicts coins: {shown(found)}")
    for place, (name, (method, ahead)) in enumerate(CHEATS.items()):
        if place and not profile.long:
            break
        with leaking(ahead):
            loop = NoiseLoop(profile.folder / f"cheat-{place}", profile.seed, events)
            found = chance_of([loop], method)
        section.count("cheats")
        section.notes.append(f"cheat, {name}: {shown(found)}")
        if found.z <= SIGMAS:
            section.survivors.append(f"the canary does not notice {name}: {shown(found)}")
    return section


def shown(found: Chance) -> str:
    """For the report."""
    return f"AUC {found.auc:.4f}, {found.z:+.1f} sd of {found.sd:.4f} from chance"
