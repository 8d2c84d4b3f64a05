"""``loopfm verify``: whether artifacts are whole, whose they are, and whether they are causal."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import LoopFMError

SUMMARY = "Check artifacts: checksums, whose they are, and a store's causality against the log."
EXAMPLE = (
    "loopfm verify data/artifacts/KuaiRandPure_s1/store-0123456789abcdef "
    "--prepared data/prepared/KuaiRandPure_s1"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """A folder, and the log to check it against."""
    parser.add_argument(
        "folder",
        type=user_path,
        help="an artifact: prepared data set, encoded view, teacher, extraction log, store, "
        "pointers, records; or a folder of them, such as a whole data root",
    )
    parser.add_argument("--prepared", type=user_path, help="prepared data set to check against")


def run(options: argparse.Namespace) -> None:
    """Say what was checked and found in order.

    Raises:
        LoopFMError: with every problem that was found.
    """
    from fuxictr_loopfm.upkeep.verification import verify_folder

    report = verify_folder(options.folder, options.prepared)
    for line in report.checked:
        print(line)
    if report.problems:
        raise LoopFMError("\n".join(report.problems))
