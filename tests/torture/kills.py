"""``kill -9`` at random moments and at every kind of file-system operation of each stage.

After each kill the readers see an old or a new artifact or refuse, and the same command, given
again, finishes with the bytes of an undisturbed run and leaves nothing else behind.
"""

from __future__ import annotations

import random
import signal
import time

from tests.torture.aftermath import aftermath
from tests.torture.command_stages import STAGES, Stage, World
from tests.torture.filesystem import Operations, kill_at
from tests.torture.forked import Ended, Forked, be_a_fork_server, run
from tests.torture.section import Profile, Section
from tests.torture.whole import refused

# Both train: a teacher by its own expid, and a vertical model by its.
SHARES = {"train the teacher": 2, "train": 2}


def torture(profile: Profile) -> Section:
    """Kill each stage again and again."""
    section = Section("Killed processes")
    be_a_fork_server()
    world = World(profile.folder)
    undisturbed = world.make_states()
    kills = Kills(world, section, random.Random(profile.seed))
    for stage in (stage for stage in STAGES if stage.is_counted):
        world.restore(stage.name)
        section.survivors += [f"{stage.name}, undisturbed: {each}" for each in refused(world.work)]
        wanted = -(-profile.pick(4, 100) // SHARES.get(stage.name, 1))
        kills.kill_often(stage, wanted, undisturbed[stage.name].seconds)
    section.notes += [
        "Half of the kills at a random moment, half right before or after a file-system operation "
        f"({', '.join(f'{name}: {count}' for name, count in kills.operations.items())}).",
        "Commands run in forks of a process that has everything imported; the preparation script "
        "and the sweep's points are forked as well instead of started. A kill takes a command "
        "with all its processes.",
    ]
    return section


class Kills:
    """Kills of the stages of a world."""

    def __init__(self, world: World, section: Section, chance: random.Random) -> None:
        self.world, self.section, self.chance = world, section, chance
        self.operations: dict[str, int] = {}

    def kill_often(self, stage: Stage, wanted: int, seconds: float) -> None:
        """Kill a stage so many times; a command that was quicker than its kill does not count."""
        allowed = self.world.allowed(stage)
        count = self.operations[stage.name] = self._operations_of(stage)
        done = attempts = 0
        while done < wanted and attempts < 3 * wanted + 10:
            attempts += 1
            if done % 2:
                how = f"at {self.chance.uniform(0, seconds):.3f} s"
                ended = self._kill_after(stage, float(how.split()[1]))
            else:
                number, after = self.chance.randint(1, count), self.chance.random() < 0.5
                how = f"{'after' if after else 'before'} operation {number}"
                ended = self._kill_at(stage, number, after)
            if ended.killed:
                done += 1
                self.section.count(f"kills of {stage.name}")
                for problem in aftermath(self.world, stage, allowed):
                    self.section.survivors.append(f"{stage.name}, killed {how}: {problem}")
        if done < wanted:
            self.section.survivors.append(f"{stage.name}: only {done} of {wanted} kills reached it")

    def _operations_of(self, stage: Stage) -> int:
        self.world.restore(stage.state)
        command, operations = self.world.command(stage), Operations()

        def counted() -> None:
            operations.watch()
            command()

        run(counted, self.world.output)
        return operations.count

    def _kill_after(self, stage: Stage, seconds: float) -> Ended:
        self.world.restore(stage.state)
        child = Forked(self.world.command(stage), self.world.output)
        time.sleep(seconds)
        child.signal(signal.SIGKILL, group=True)
        return child.wait()

    def _kill_at(self, stage: Stage, number: int, after: bool) -> Ended:
        self.world.restore(stage.state)
        command = self.world.command(stage)

        def killed() -> None:
            kill_at(number, after=after).watch()
            command()

        return run(killed, self.world.output)
