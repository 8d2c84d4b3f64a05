"""``loopfm export``: histories written out, for FuxiCTR's own loaders."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.commands.options import EXPERIMENT_EXAMPLE, add_experiment, workspace
from fuxictr_loopfm.config.paths import user_path

SUMMARY = "Write materialised histories for FuxiCTR's own loaders (npz and parquet)."
EXAMPLE = f"loopfm export {EXPERIMENT_EXAMPLE} --out exported"


def add_options(parser: argparse.ArgumentParser) -> None:
    """An experiment, which of its splits, and where to."""
    add_experiment(parser)
    parser.add_argument("--out", type=user_path, required=True, help="folder to write to")
    parser.add_argument("--split", nargs="+", default=["train", "test"], choices=["train", "test"])


def run(options: argparse.Namespace) -> None:
    """Write the files and print their paths."""
    from fuxictr_loopfm.runs.export import export_histories

    for path in export_histories(workspace(options), options.out, options.split):
        print(path)
