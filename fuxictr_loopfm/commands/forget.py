"""``loopfm forget``: users out of a prepared data set and of all that was made from it."""

from __future__ import annotations

import argparse
from pathlib import Path

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import ConfigError

SUMMARY = "Delete users from a prepared data set and all its artifacts, or outdated artifacts."
EXAMPLE = "loopfm forget --prepared data/prepared/KuaiRandPure_s1 --artifacts data --user 17"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Whom to forget, where, and how thoroughly."""
    parser.add_argument("--prepared", type=user_path, required=True, help="the prepared data set")
    parser.add_argument(
        "--artifacts",
        type=user_path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="all folders that hold something made from it: its artifacts, encoded views, exports, "
        "predictions beside records; searched with what is below them",
    )
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--user", nargs="+", metavar="ID", help="users to delete")
    whom.add_argument("--user-file", type=user_path, metavar="FILE", help="the same, one id a line")
    whom.add_argument(
        "--outdated",
        action="store_true",
        help="no user: delete artifacts made from former versions of the data set, for retention",
    )
    parser.add_argument(
        "--weights", action="store_true", help="delete teachers that learned from the users, too"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="change nothing; say what would be changed"
    )


def run(options: argparse.Namespace) -> None:
    """Delete, and say what was done file by file.

    Raises:
        LoopFMError: see ``forget.forget_users``; or the file of ids cannot be read.
    """
    from fuxictr_loopfm.upkeep.forget import forget_outdated, forget_users

    if options.outdated:
        steps = forget_outdated(options.prepared, options.artifacts, dry_run=options.dry_run)
        first = f"{options.prepared}: {len(steps)} artifacts of former versions"
    else:
        users = options.user or _ids(options.user_file)
        found = forget_users(
            options.prepared,
            users,
            options.artifacts,
            weights=options.weights,
            dry_run=options.dry_run,
        )
        steps, first = found.steps, f"{options.prepared}: {found.events} events of {len(users)}"
        first += " user" if len(users) == 1 else " users"
    print(first + (" would be deleted" if options.dry_run else " deleted"))
    for step in steps:
        print(step)


def _ids(path: Path) -> list[str]:
    try:
        ids = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--user-file {path}: cannot be read ({error}). Give a UTF-8 text file with one user "
            "id a line."
        ) from error
    if not any(ids):
        raise ConfigError(f"--user-file {path}: expected one user id a line, found none")
    return [each for each in ids if each]
