"""``loopfm inspect``: what is in a store or a prepared data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import LoopFMError

SUMMARY = "Say what is in a store or a prepared data set."
EXAMPLE = "loopfm inspect data/artifacts/KuaiRandPure_s1/store-0123456789abcdef"


def add_options(parser: argparse.ArgumentParser) -> None:
    """A folder."""
    parser.add_argument("folder", type=user_path, help="store or prepared data set")


def run(options: argparse.Namespace) -> None:
    """Print the description.

    Raises:
        LoopFMError: the folder is neither. One that was never a store must not be called a
            broken one, because the remedy for those is to delete them.
    """
    from fuxictr_loopfm.prepared.dataset import PreparedDataset
    from fuxictr_loopfm.store.describe import describe_store

    folder: Path = options.folder
    if (folder / "dataset.yaml").is_file():
        print(PreparedDataset.load(folder).describe())
    elif (folder / "manifest.json").is_file():
        print(describe_store(folder))
    else:
        raise LoopFMError(
            f"{folder}: expected a folder with dataset.yaml or manifest.json, found none. Stores "
            "are in data/artifacts/<dataset>/, prepared data sets in data/prepared/."
        )
