"""``loopfm publish``: finished runs into ``benchmark_configs``."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import LoopFMError

SUMMARY = "Put finished runs into benchmark_configs: records, entries, leaderboard, tables."
EXAMPLE = "loopfm publish runs/KuaiRandPure_s1 runs/paper/KuaiRandPure_s1 --fill README.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which results to publish, and which documents show them."""
    parser.add_argument(
        "results",
        type=user_path,
        nargs="*",
        help="output folders of `benchmark` and `paper`; without one, what is committed is "
        "written anew from its records",
    )
    parser.add_argument(
        "--tables",
        type=int,
        nargs="+",
        default=[],
        help="tables of the paper to publish besides those that runs were made for",
    )
    parser.add_argument(
        "--fill",
        type=user_path,
        nargs="+",
        default=[],
        metavar="DOCUMENT",
        help="documents whose tables between `<!-- leaderboard DATASET MODEL -->` marks are made "
        "anew",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a published file differs"
    )


def run(options: argparse.Namespace) -> None:
    """Publish, or check what is published.

    Raises:
        LoopFMError: see ``publish``; with ``--check`` also files that differ, by name.
    """
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.evidence.publish.publish import fill_documents, outdated, publish

    checkout = Checkout.find()
    if options.check:
        wrong = outdated(checkout, options.fill)
        if wrong:
            names = "\n".join(f"{path}: differs from what the records give" for path in wrong)
            raise LoopFMError(f"{names}\nrun `loopfm publish` to write them anew")
        return
    for dataset_id, left_out in publish(checkout, options.results, options.tables).items():
        print(f"{checkout.configs(dataset_id)}: published; {left_out} runs are on no page")
    fill_documents(checkout, options.fill)
