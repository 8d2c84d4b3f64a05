"""Where a data set's files are, as a generated configuration names them."""

from __future__ import annotations

import os
from pathlib import Path

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.evidence.benchmark.configs import Location


def location_of(checkout: Checkout, dataset_id: str, prepared: Path, base: Path) -> Location:
    """Paths relative to a script's folder.

    Args:
        checkout: whose preparation script, if it has one, makes the data set.
        dataset_id: the data set that the configuration names.
        prepared: its prepared folder.
        base: the folder that paths start from; links in it must have been followed.
    """
    script = checkout.scripts().get(dataset_id)
    raw = checkout.data_root / "raw" / dataset_id
    return Location(
        data_root=os.path.relpath(checkout.data_root, base),
        prepared=os.path.relpath(prepared, base),
        prepare=os.path.relpath(script, base) if script else None,
        raw_data=os.path.relpath(raw, base) if script else None,
    )
