"""A prepared data set without its test period: what hyper-parameters are chosen on.

The scripts of ``data_prep/`` make this form of a raw log (``--drop-last-period``). Here it is made
of a prepared data set, for logs whose raw files are not at hand.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.columns_io import SequenceArrays
from fuxictr_loopfm.prepared.dataset import Periods, PreparedDataset, write_prepared


def dev_id(dataset_id: str) -> str:
    """Id of the data set without its test period."""
    stem, _, suffix = dataset_id.rpartition("_")
    return f"{stem}_dev_{suffix}"


def without_test(prepared: PreparedDataset, folder: Path) -> PreparedDataset:
    """Write the rows of the periods before the test, and their histories, into ``folder``.

    The last of these periods is the test of the result.

    Args:
        prepared: the whole data set.
        folder: target; an earlier prepared data set there is replaced.
    Raises:
        DataError: no period is left to choose on.
    """
    spec = prepared.spec
    given = spec.periods
    *trained, last = given.vertical_train
    if not trained:
        raise DataError(
            f"{prepared.folder}: periods: expected at least two that train the vertical model, so "
            f"that one is left to choose on, found {list(given.vertical_train)}. Prepare the data "
            "set with more periods."
        )
    rows = prepared.rows_of(range(1, last + 1))
    description = replace(
        spec,
        dataset_id=dev_id(spec.dataset_id),
        periods=Periods(
            count=last,
            teacher_train=given.teacher_train,
            log=tuple(period for period in given.log if period <= last),
            vertical_train=tuple(trained),
            test=(last,),
        ),
        period_rule=f"{spec.period_rule}; only the first {last}",
        rows=0,
        files={},
    )
    sequences = {
        each.name: _referenced(prepared.sequence(each.name), rows) for each in spec.sequences
    }
    return write_prepared(folder, description, prepared.frame().iloc[rows], sequences)


def _referenced(sequence: SequenceArrays, rows: slice) -> SequenceArrays:
    """The histories of some rows, and of the tokens those that are in one of them."""
    values, end, length = sequence
    end, length = end[rows], length[rows].astype(np.int64)
    change = np.zeros(len(values) + 1, dtype=np.int64)
    np.add.at(change, end - length, 1)
    np.add.at(change, end, -1)
    used = np.cumsum(change)[:-1] > 0
    # Tokens of one history stand side by side, so they stay so.
    number = np.concatenate([np.zeros(1, np.int64), np.cumsum(used)])
    kept = np.where(length > 0, number[end], 0)
    return values[used], kept, length.astype(np.uint16)
