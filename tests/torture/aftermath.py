"""What there is to see after a disturbed command, and after the same one was given again."""

from __future__ import annotations

import json
from pathlib import Path

from tests.torture.command_stages import Stage, World
from tests.torture.forked import Command, run
from tests.torture.whole import Digests, debris, differences, digests, misread


def aftermath(world: World, stage: Stage, allowed: list[Digests]) -> list[str]:
    """What is wrong after a disturbed command, and after the same one was given again.

    Args:
        world: as the disturbed command left it.
        stage: the command.
        allowed: digests before it, and after an undisturbed one.
    """
    answer = world.output.with_name("misread.json")
    answer.unlink(missing_ok=True)
    again = run(_read_then(world, stage, allowed, answer), world.output)
    if not answer.is_file():
        return [f"the readers died: {again.text[-500:]}"]
    problems: list[str] = json.loads(answer.read_text(encoding="utf-8"))
    if again.code != 0:
        return [*problems, f"the command given again ends with {again.code}: {again.text[-500:]}"]
    other = differences(digests(world.work), allowed[-1])
    problems += [f"{name}: other bytes than an undisturbed run's" for name in other]
    return problems + [f"{name}: left behind" for name in debris(world.work)]


def _read_then(world: World, stage: Stage, allowed: list[Digests], answer: Path) -> Command:
    """Read everything, and give the command again: one fork for both."""
    command = world.command(stage)

    def both() -> None:
        problems = misread(world.work, allowed)
        answer.write_text(json.dumps(problems), encoding="utf-8")
        command()

    return both
