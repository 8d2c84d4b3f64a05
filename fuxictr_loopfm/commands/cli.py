"""The ``loopfm`` command: finds the subcommand, reads its options and runs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fuxictr_loopfm import __version__
from fuxictr_loopfm.commands.registry import load_commands
from fuxictr_loopfm.exits import one_message


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands; the chosen one's ``run`` is the option ``handler``.

    Raises:
        ConfigError: see ``load_commands``.
    """
    parser = argparse.ArgumentParser(
        prog="loopfm", description="LoopFM for FuxiCTR: a teacher's past embeddings as a feature."
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in load_commands().items():
        subparser = subparsers.add_parser(
            name,
            help=command.SUMMARY,
            description=command.SUMMARY,
            epilog=f"example: {command.EXAMPLE}",
        )
        command.add_options(subparser)
        subparser.set_defaults(handler=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand; a user's mistake ends with one message and exit code 1.

    Args:
        argv: the words after ``loopfm``; None takes those of this process.
    """
    with one_message():
        options = build_parser().parse_args(argv)
        options.handler(options)
