"""``loopfm prepare``: the prepared data set of a public log."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.commands.options import add_dataset

SUMMARY = "Make the prepared data set of a public log."
EXAMPLE = "loopfm prepare --dataset KuaiRandPure_s1 --data KuaiRand-Pure/data"

add_options = add_dataset


def run(options: argparse.Namespace) -> None:
    """Prepare the data set unless it is up to date, and say what is in it."""
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.pipeline.preparation import prepare

    prepared = prepare(Checkout.find(), options.dataset, options.data, drop_last_period=options.dev)
    print(prepared.describe())
    print(f"prepared data set: {prepared.folder}")
