"""Eight processes that need the same artifacts, readers during a rebuild, and loader workers."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import yaml

from fuxictr_loopfm.runs import run_expid
from tests.torture.command_stages import EXPID, STAGES, World
from tests.torture.forked import Command, Forked, be_a_fork_server, run
from tests.torture.loading import METHODS, compare_workers
from tests.torture.replaced import KINDS, MIX, NEW, OLD, Replaced
from tests.torture.section import Profile, Section
from tests.torture.whole import Digests, debris, differences, digests

PROCESSES, READERS = 8, 2
POINTS = [f"point{number}" for number in range(PROCESSES)]
LONE = (POINTS[0], POINTS[-1])
# What a process says when it builds an artifact, and which artifact it is.
BUILDS = {
    "Encode the teacher view": "teacher's view",
    "Encode the vertical view": "vertical model's view",
    "Train the teacher": "teacher",
    "Extract periods": "extraction",
    "Structure the event store": "event store",
}
_WAITING = "Waiting for another process"
# Between two replacements; without it a folder would hardly ever be seen whole.
_PAUSE_SECONDS = 0.05
# A reader goes on until it has read each version so often, on a machine however busy.
_EACH, _LONGEST = 3, 30.0


def torture(profile: Profile) -> Section:
    """Run processes against each other."""
    section = Section("Processes at the same time")
    be_a_fork_server()
    world = World(profile.folder)
    _write_points(world)
    alone = _lone_points(world)
    waited = 0
    for _ in range(profile.pick(1, 6)):
        waited += _points_at_once(world, alone, section)
        _preparations_at_once(world, section)
    section.notes.append(
        f"{PROCESSES} processes at once, forked from one that has everything imported; they waited "
        f"{waited} times for an artifact that another one was building."
    )
    for kind in KINDS:
        _read_while_replaced(kind, profile.folder / "replaced", profile.pick(1, 12), section)
    _compare_loader_workers(world, section)
    return section


def _write_points(world: World) -> None:
    """Eight expids that share all but the pointers; the state before any of them has run."""
    path = world.work / "configs" / "model_config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    for number, point in enumerate(POINTS):
        config[point] = {**config[EXPID], "loopfm_max_len": 2 + number}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    world.keep("points")


def _point(world: World, point: str) -> Command:
    def command() -> None:
        script = str(world.work / "model_zoo" / "run_expid.py")
        sys.argv = [script, "--expid", point]
        run_expid.main(script, ["--config", str(world.work / "configs"), "--expid", point])

    return command


def _lone_points(world: World) -> Digests:
    """What lone runs of two points leave."""
    world.restore("points")
    for point in LONE:
        ended = run(_point(world, point), world.output)
        if ended.code != 0:
            raise RuntimeError(f"{point} fails alone ({ended.code}): {ended.text}")
    return digests(world.work)


def _points_at_once(world: World, alone: Digests, section: Section) -> int:
    """Number of times that a process had to wait."""
    world.restore("points")
    texts = _at_once([_point(world, point) for point in POINTS], world, section, "points")
    text = "\n".join(texts)
    for line, artifact in BUILDS.items():
        section.count(f"{artifact} needed by {PROCESSES} processes")
        if text.count(line) != 1:
            section.survivors.append(f"{artifact}: built {text.count(line)} times")
    lines = (world.work / "model_zoo" / "configs.csv").read_text().splitlines()
    if sorted(line.split("[exp_id] ")[1].split(",")[0] for line in lines) != POINTS:
        section.survivors.append(f"result lines: expected one for each point, found {lines}")
    # Without the result lines, which come in the order in which the processes end.
    shared = {name: value for name, value in digests(world.work).items() if name in alone}
    for name in set(differences(shared, alone)) - {"model_zoo/configs.csv"}:
        section.survivors.append(f"{name}: other bytes than lone runs'")
    section.survivors += [f"{name}: left behind" for name in debris(world.work)]
    return text.count(_WAITING)


def _preparations_at_once(world: World, section: Section) -> None:
    first = next(stage for stage in STAGES if stage.name == "first preparation")
    world.restore("points")
    texts = _at_once([world.command(first)] * PROCESSES, world, section, "preparations")
    section.count(f"prepared data set needed by {PROCESSES} processes")
    times = "\n".join(texts).count("read the log ...")
    if times != 1:
        section.survivors.append(f"prepared data set: made {times} times")
    section.survivors += [f"{name}: left behind" for name in debris(world.work)]


def _at_once(commands: list[Command], world: World, section: Section, what: str) -> list[str]:
    outputs = [world.output.with_name(f"output-{number}.txt") for number in range(len(commands))]
    started = [Forked(each, output) for each, output in zip(commands, outputs, strict=True)]
    ended = [each.wait() for each in started]
    for each in ended:
        if each.code != 0:
            section.survivors.append(f"{what}: one ended with {each.code}: {each.text[-500:]}")
    return [each.text for each in ended]


def _read_while_replaced(kind: Replaced, root: Path, seconds: float, section: Section) -> None:
    """One process replaces an artifact again and again, others read it all the time."""
    folder, stop = root / kind.name.replace(" ", "-"), root / "stop"
    root.mkdir(exist_ok=True)
    stop.unlink(missing_ok=True)
    alone = run(lambda: kind.known(folder), root / "output.txt")
    assert alone.answer is not None and len(alone.answer) == 2, alone.text
    started = time.monotonic()

    def write() -> None:
        version = 0
        while not stop.exists():
            version = 1 - version
            kind.write(folder, version)
            time.sleep(_PAUSE_SECONDS)

    def read() -> dict[str, int]:
        found: Counter[str] = Counter()
        elapsed = 0.0
        while elapsed < seconds or (min(found[OLD], found[NEW]) < _EACH and elapsed < _LONGEST):
            found[kind.verdict(folder, alone.answer)] += 1
            elapsed = time.monotonic() - started
        return found

    writer = Forked(write, root / "writer.txt")
    readers = [Forked(read, root / f"reader-{number}.txt") for number in range(READERS)]
    ended = [reader.wait() for reader in readers]
    stop.touch()
    found: Counter[str] = Counter()
    for each in [*ended, writer.wait()]:
        found.update(each.answer or {})
        if each.code != 0:
            section.survivors.append(f"{kind.name}: a process failed: {each.text[-800:]}")
    section.count(f"reads of an artifact ({kind.name}) that is being replaced", sum(found.values()))
    if found[MIX]:
        section.survivors.append(f"{kind.name}: {found[MIX]} reads: {MIX}")
    if not (found[OLD] and found[NEW]):
        section.survivors.append(f"{kind.name}: nothing was replaced while it was read: {found}")
    section.notes.append(
        f"{kind.name}: " + ", ".join(f"{number} {each}" for each, number in sorted(found.items()))
    )


def _compare_loader_workers(world: World, section: Section) -> None:
    world.restore("points")
    run(_point(world, POINTS[0]), world.output)
    section.count("loader workers", len(METHODS))
    ended = run(lambda: compare_workers(world.work / "configs", POINTS[0]), world.output)
    if ended.code != 0:
        section.survivors.append(f"loader workers differ ({ended.code}): {ended.text[-800:]}")
