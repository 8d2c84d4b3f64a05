"""A full disk, calls of the system that fail, and processes that are asked to stop.

Each is answered by one message and an exit code, without a traceback and without temporaries; what
was there before is still whole, and the same command, given again, finishes with the bytes of an
undisturbed run.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fuxictr_loopfm.exits import GO_ON, INTERRUPTED, TERMINATED
from fuxictr_loopfm.files.atomic import TEMPORARY_PREFIX
from tests.torture.aftermath import aftermath
from tests.torture.command_stages import STAGES, Stage, World
from tests.torture.filesystem import Operations, fail_at
from tests.torture.forked import Ended, Forked, be_a_fork_server, run
from tests.torture.section import Profile, Section
from tests.torture.whole import Digests

_DISK_BYTES = 64 << 20
_BLOCK = 4096
_FAILING = ("replace", "swap", "fsync")
_ERRORS = (errno.EIO, errno.EXDEV, errno.EACCES)
_SIGNALS = {signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED}


def torture(profile: Profile) -> Section:
    """Let the disk run full, calls fail and signals come."""
    section = Section("Full disks, failing calls, signals")
    be_a_fork_server()
    with _small_disk(profile.folder / "disk") as disk:
        world = World(profile.folder / "world", disk.folder / "work")
        undisturbed = world.make_states()
        faults = Faults(world, disk, section, random.Random(profile.seed))
        stages = [stage for stage in STAGES if stage.is_counted]
        for number in range(profile.pick(5, 28)):
            stage = stages[number % len(stages)]
            allowed = world.allowed(stage)
            faults.fill_disk(stage, allowed)
            faults.fail_call(stage, allowed)
            faults.send_signal(stage, allowed, undisturbed[stage.name].seconds)
        section.notes.append(f"The disk: {disk.what}.")
    return section


class Faults:
    """Faults in the stages of a world."""

    def __init__(self, world: World, disk: _Disk, section: Section, chance: random.Random) -> None:
        self.world, self.disk, self.section, self.chance = world, disk, section, chance

    def fill_disk(self, stage: Stage, allowed: list[Digests]) -> None:
        """Leave less room than the command needs."""
        self.world.restore(stage.name)
        after = _size(self.world.work)
        self.world.restore(stage.state)
        room = int((after - _size(self.world.work)) * self.chance.uniform(0, 0.9))
        command = self.world.command(stage)
        with self.disk.limited(room) as limit:
            ended = run(lambda: (limit(), command()), self.world.output)
        self._check(stage, f"{room} bytes left", ended, allowed)

    def fail_call(self, stage: Stage, allowed: list[Digests]) -> None:
        """Let one rename or flush fail."""
        counted = Operations(names=_FAILING)
        command = self.world.command(stage)
        self.world.restore(stage.state)
        run(lambda: (counted.watch(), command()), self.world.output)
        number = self.chance.randint(1, counted.count)
        code = self.chance.choice(_ERRORS)
        self.world.restore(stage.state)
        operations = fail_at(number, code, _FAILING)
        ended = run(lambda: (operations.watch(), command()), self.world.output)
        self._check(stage, f"{errno.errorcode[code]} at call {number}", ended, allowed)

    def send_signal(self, stage: Stage, allowed: list[Digests], seconds: float) -> None:
        """Ask the command to stop: a scheduler asks it alone, a key press its processes as well."""
        number, seconds = self.chance.choice(list(_SIGNALS)), self.chance.uniform(0, seconds)
        self.world.restore(stage.state)
        child = Forked(self.world.command(stage), self.world.output)
        time.sleep(seconds)
        child.signal(number, group=number == signal.SIGINT)
        ended = child.wait()
        how = f"{number.name} at {seconds:.3f} s"
        if ended.code == 0 or ended.code == -number:
            return  # it had ended, or not begun
        self.section.count(f"{number.name} to {stage.name}")
        problems = []
        if ended.code != _SIGNALS[number]:
            problems.append(f"ended with {ended.code}: {ended.text[-500:]}")
        elif GO_ON not in ended.text.splitlines()[-1]:
            problems.append(f"its last line does not say how to go on: {ended.text[-300:]}")
        if child.members():
            problems.append(f"its processes go on: {child.members()}")
        self._report(stage, how, [*problems, *_unclean(self.world, ended)], allowed)

    def _check(self, stage: Stage, how: str, ended: Ended, allowed: list[Digests]) -> None:
        if ended.code == 0:
            return  # it had room enough, or another way
        kind = "a full disk" if "bytes left" in how else "failing calls"
        self.section.count(f"{kind} in {stage.name}")
        problems = _unclean(self.world, ended)
        if ended.code != 1 or "error: " not in ended.text:
            problems.append(f"ended with {ended.code}: {ended.text[-500:]}")
        self._report(stage, how, problems, allowed)

    def _report(self, stage: Stage, how: str, problems: list[str], allowed: list[Digests]) -> None:
        problems += aftermath(self.world, stage, allowed)
        self.section.survivors += [f"{stage.name}, {how}: {problem}" for problem in problems]


def _unclean(world: World, ended: Ended) -> list[str]:
    """Tracebacks, and temporaries of a process that had the time to remove them."""
    problems = []
    if "Traceback" in ended.text or "Exception ignored" in ended.text:
        problems.append(f"a traceback: {ended.text[-1500:]}")
    for path in world.work.rglob(f"{TEMPORARY_PREFIX}*"):
        problems.append(f"{path.relative_to(world.work)}: left behind at once")
    return problems


def _size(folder: Path) -> int:
    blocks = (-(-path.lstat().st_size // _BLOCK) for path in folder.rglob("*"))
    return sum(blocks) * _BLOCK


class _Disk:
    """A folder whose free space can be limited."""

    def __init__(self, folder: Path, is_mounted: bool) -> None:
        self.folder, self._is_mounted = folder, is_mounted
        self.what = (
            "a tmpfs that is made smaller"
            if is_mounted
            else "a limit on the size of files (RLIMIT_FSIZE), because nothing may be mounted here"
        )

    @contextmanager
    def limited(self, room: int) -> Iterator[Callable[[], None]]:
        """Leave that many bytes; yields what the process must call first."""
        if not self._is_mounted:
            yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room // 8, room // 8))
            return
        usage = shutil.disk_usage(self.folder)
        _mount(self.folder, usage.used + room, "remount,")
        try:
            yield lambda: None
        finally:
            _mount(self.folder, _DISK_BYTES, "remount,")


@contextmanager
def _small_disk(folder: Path) -> Iterator[_Disk]:
    folder.mkdir(parents=True)
    is_mounted = _mount(folder, _DISK_BYTES)
    try:
        yield _Disk(folder, is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def _mount(folder: Path, size: int, how: str = "") -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"{how}size={max(size, _BLOCK)}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
