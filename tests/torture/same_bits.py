"""Section ``same_bits``: one configuration, data and seed give the same bits in every surrounding.

Each run has a process, a folder and artifacts of its own. A first run is the measure; further ones
differ in what must not matter. All files below the data root, the weights, the predictions and the
metrics are compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.integration.planted import write_log
from tests.torture.same_bits_run import CASES, Asked
from tests.torture.section import Profile, Section

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ("teacher", "log", "weights", "predictions", "metrics")
SECONDS = 300
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
TWO_THREADS = {"OMP_NUM_THREADS": "2"}


@dataclass(frozen=True)
class Surrounding:
    """What differs from the first run.

    Attributes:
        name: in the report.
        environment: variables of the process.
        asked: fields of ``Asked``.
        folder: name of the run's folder.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    folder: str = ""


_ELSEWHERE = {
    "PYTHONHASHSEED": "4242",
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
}
# Together first: in the tests there is time for one more run of each case. Workers, each of which
# loads torch, are left to the long profile.
SURROUNDINGS = (
    Surrounding(
        "hash seed, time zone, locale, folder and no prefetching together",
        {name: value for name, value in _ELSEWHERE.items() if name != "LC_ALL"},
        {"prefetch": 0},
        "another folder (with blanks)",
    ),
    Surrounding("another process"),
    Surrounding("hash seed 1", {"PYTHONHASHSEED": "1"}),
    Surrounding("locale C without UTF-8", _ELSEWHERE),
    Surrounding("a folder with other letters", {}, {}, "\u00fcmgebung \u7528"),
    Surrounding("two workers", {}, {"workers": 2}),
    Surrounding("no prefetching", {}, {"prefetch": 0}),
    Surrounding("prefetching of seven", {}, {"prefetch": 7}),
    Surrounding("two threads allowed, one asked for", TWO_THREADS),
)


def torture(profile: Profile) -> Section:
    """Run every case in every surrounding; in the tests in the first one."""
    section = Section("Same seed, same bits")
    prepared = write_log(profile.folder / "prepared").folder
    for case in CASES:
        asked = Asked("", str(prepared), case)
        first = answer(profile.folder / case / "first", asked, ONE_THREAD, section)
        if first is None:
            continue
        for surrounding in SURROUNDINGS[: profile.pick(1, len(SURROUNDINGS))]:
            folder = profile.folder / case / (surrounding.folder or surrounding.name)
            environment = ONE_THREAD | surrounding.environment
            other = replace(asked, **surrounding.asked)
            found = answer(folder, other, environment, section)
            if found is not None:
                unequal = differences(first, found)
                section.survivors += [f"{case}, {surrounding.name}: {line}" for line in unequal]
        if profile.long:
            _with_other_shards(profile.folder / case, asked, section)
            _with_two_threads(profile.folder / case, asked, first, section)
    if profile.long:
        section.notes += sums_that_differ()
    return section


def differences(first: dict[str, Any], found: dict[str, Any], *, stored: bool = True) -> list[str]:
    """What two runs do not have in common, a line each."""
    lines = [
        f"{name}: {first[name]} and {found[name]}" for name in RESULTS if first[name] != found[name]
    ]
    if stored:
        names = sorted(set(first["files"]) | set(found["files"]))
        lines += [
            f"{name}: other bytes"
            for name in names
            if first["files"].get(name) != found["files"].get(name)
        ]
    return lines


def _with_other_shards(folder: Path, asked: Asked, section: Section) -> None:
    """How a store is cut changes its files and nothing that is learned from padded histories.

    Ragged ones are laid out in the order of the store, so an encoder may sum them in another order.
    """
    runs = []
    for shards in (1, 5):
        overrides = {"loopfm_num_shards": shards, "loopfm_delivery": "padded"}
        cut = replace(asked, overrides=overrides)
        runs.append(answer(folder / f"{shards} shards", cut, ONE_THREAD, section))
    if runs[0] is not None and runs[1] is not None:
        unequal = differences(runs[0], runs[1], stored=False)
        section.survivors += [f"{asked.case}, 1 and 5 shards: {line}" for line in unequal]


def _with_two_threads(folder: Path, asked: Asked, first: dict[str, Any], section: Section) -> None:
    """Torch promises nothing between thread counts: what is found is told, not judged.

    Two runs of the same count must be equal.
    """
    runs = [
        answer(folder / f"threads {n}", replace(asked, threads=2), TWO_THREADS, section)
        for n in (1, 2)
    ]
    if runs[0] is None or runs[1] is None:
        return
    section.survivors += [
        f"{asked.case}, two threads twice: {line}" for line in differences(runs[0], runs[1])
    ]
    unequal = [name for name in RESULTS if runs[0][name] != first[name]]
    section.notes.append(
        f"{asked.case}, loopfm_threads 2 against 1: "
        + (f"other {', '.join(unequal)}" if unequal else "the same bits in a model of this size")
    )


def sums_that_differ() -> list[str]:
    """A line on the operations whose bits depend on the number of threads, and one on the rest."""
    found = _output(["threads"], TWO_THREADS, ROOT)
    differing = [name for name, same in found.items() if not same]
    same = [name for name, equal in found.items() if equal]
    return [
        f"torch, one thread against two, large tensors: other bits in {', '.join(differing)}"
        if differing
        else "torch, one thread against two, large tensors: the same bits in all tried",
        f"the same bits in {', '.join(same)}",
    ]


def answer(
    folder: Path, asked: Asked, environment: dict[str, str], section: Section
) -> dict[str, Any] | None:
    """What a run in a fresh process leaves; None, and a survivor, if it ends otherwise."""
    folder.mkdir(parents=True)
    asked = replace(asked, root=str(folder))
    section.count("runs in processes of their own")
    try:
        found = _output([json.dumps(asdict(asked))], environment, folder)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        section.survivors.append(f"{asked.case} in {folder.name}: {output[-1:] or error}")
        return None
    section.count("files compared", len(found["files"]))
    return found


def _output(arguments: list[str], environment: dict[str, str], cwd: Path) -> dict[str, Any]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.same_bits_run", *arguments],
        check=True,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        timeout=SECONDS,
    )
    lines = done.stdout.decode().splitlines()
    (line,) = [line for line in lines if line.startswith("ANSWER ")]
    found: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
    return found
