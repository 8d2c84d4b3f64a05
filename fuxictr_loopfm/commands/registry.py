"""Which commands there are: ours by name, and those of installed packages by entry point.

A package adds a command with a module like those in this folder and one line of packaging::

    [project.entry-points."fuxictr_loopfm.commands"]
    greet = "my_package.greet"
"""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from fuxictr_loopfm.errors import ConfigError

ENTRY_POINTS = "fuxictr_loopfm.commands"
# In the order of the help. A command's module has its name, with _ for -.
COMMANDS = (
    "prepare",
    "extract",
    "structure",
    "inspect",
    "verify",
    "export",
    "benchmark",
    "tune-teacher",
    "paper",
    "leaderboard",
    "publish",
    "rerun",
    "forget",
)


class Command(Protocol):
    """What a command's module has.

    The help of ``loopfm`` imports every such module, so what is slow to import (torch, pandas) is
    imported in ``run``.

    Attributes:
        SUMMARY: one line for the help.
        EXAMPLE: a whole command line that the command takes, beginning with ``loopfm``.
    """

    SUMMARY: str
    EXAMPLE: str

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's options and arguments."""

    def run(self, options: argparse.Namespace) -> None:
        """Do it; what the user is told goes to stdout.

        Raises:
            LoopFMError: what the user can mend. The message is printed alone, the exit code is 1.
        """


def load_commands() -> dict[str, Command]:
    """All commands by name: ours, then those of installed packages.

    Raises:
        ConfigError: a package's command has the name of another, fails to import, or lacks a part.
    """
    found = {
        name: cast(Command, import_module(f"{__package__}.{name.replace('-', '_')}"))
        for name in COMMANDS
    }
    for entry in sorted(entry_points(group=ENTRY_POINTS)):
        where = f"entry point {entry.name} = {entry.value} of {ENTRY_POINTS}"
        if entry.name in found:
            raise ConfigError(
                f"{where}: expected a new name, found that of another command. Rename it, or "
                "uninstall the package."
            )
        found[entry.name] = _load(entry, where)
    return found


def _load(entry: EntryPoint, where: str) -> Command:
    try:
        module = entry.load()
    except Exception as error:
        raise ConfigError(
            f"{where}: importing it failed: {type(error).__name__}: {error}. Repair the package, "
            "or uninstall it."
        ) from error
    parts = ("SUMMARY", "EXAMPLE", "add_options", "run")
    missing = [name for name in parts if not hasattr(module, name)]
    if missing:
        raise ConfigError(
            f"{where}: expected a module with {', '.join(parts)}, found none of the name "
            f"{' and '.join(missing)}. Add it to the module."
        )
    return cast(Command, module)
