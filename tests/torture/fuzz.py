"""Section ``fuzz``: input of every kind, changed at random for a stated time, never crashes.

Each batch runs in a forked process with little memory, each example under an alarm. An example
ends well or with a LoopFMError; whatever else happens is a survivor with the seed that repeats it.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.torture import forked
from tests.torture.fuzz_targets import Target, Trial, targets
from tests.torture.section import Profile, Section

BATCH = 40
MEMORY = 1 << 30


def torture(profile: Profile) -> Section:
    """Every target in turn until the time is over; all of them get a batch at least."""
    section = Section("Fuzzing")
    folder = profile.folder / "fuzz"
    folder.mkdir()
    seconds = profile.pick(8, 280)
    everything = targets(folder)
    ends = time.monotonic() + seconds
    batch, seen = 0, set[str]()
    while batch < len(everything) or time.monotonic() < ends:
        target = everything[batch % len(everything)]
        number = profile.seed + batch // len(everything)
        count, found = run_batch(target, number, folder / "batch")
        section.count(target.name, count)
        for signature, line in found:
            if signature not in seen:
                seen.add(signature)
                section.survivors.append(f"{target.name}, seed {number}: {line}")
        batch += 1
    section.notes.append(
        f"{seconds} s over {len(everything)} targets, {batch} batches of {BATCH} examples, seeds "
        f"{profile.seed} to {profile.seed + (batch - 1) // len(everything)}; each batch may map "
        f"{MEMORY >> 20} MiB more, each example may take {forked.SECONDS} s of its own"
    )
    return section


def run_batch(target: Target, number: int, journal: Path) -> tuple[int, list[tuple[str, str]]]:
    """(examples, survivors as (signature, line)) of one batch, which ``number`` repeats.

    Args:
        target: what is read.
        number: hypothesis' seed.
        journal: file for what the process says before it dies.
    """
    ended = forked.run(
        lambda: _examples(target.try_one, number), journal, memory=MEMORY, seconds=math.inf
    )
    lines = ended.text.splitlines()
    tried = [line for line in lines if line.startswith("try ")]
    found = [line.removeprefix("bad ") for line in lines if line.startswith("bad ")]
    survivors = [(line.partition(" | ")[0], line) for line in found]
    if not lines or lines[-1] != "done":
        how = "hung" if ended.code == forked.HUNG else "crashed or ran out of memory"
        last = tried[-1] if tried else "before the first example"
        survivors.append((f"{target.name} {how}", f"{how} (code {ended.code}) at {last}"))
    return len(tried), survivors


def _examples(try_one: Callable[[st.DataObject], Trial], number: int) -> None:
    warnings.simplefilter("ignore")
    profile = settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )

    @seed(number)
    @profile
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        run, what = try_one(data)
        print(f"try {what!r}"[:2000])
        forked.limit_time(forked.SECONDS)
        kind, text = forked.call(run)
        forked.limit_time(0)
        if kind == "raised":
            place = text.partition(": ")[0]
            print(f"bad {place} | {text[:300]!r} | {what!r}"[:1500])

    examples()
    print("done")
