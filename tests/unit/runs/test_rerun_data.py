"""A record finds the state of the data set that it was made on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pandas as pd

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, write_prepared
from fuxictr_loopfm.records.record import RunRecord
from fuxictr_loopfm.runs.rerun_data import prepared_data

SPEC = DatasetSpec(
    dataset_id="Toy_s1", label="clk", user="user", item="item", time_unit="ordinal",
    columns=(Column("user"), Column("item")), periods=Periods.split(4, 1), period_rule="rows",
    source="made up",
)  # fmt: skip


def test_it_is_found_beside_the_one_that_was_prepared_last(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    link = checkout.prepared("Toy_s1")
    states = {}
    for item in "ab":
        frame = pd.DataFrame({"timestamp": range(8), "period": [1, 1, 2, 2, 3, 3, 4, 4],
                              "clk": [0, 1] * 4, "user": "u", "item": item})  # fmt: skip
        states[item] = write_prepared(link.with_name(f"Toy_s1-{item * 16}"), SPEC, frame)
    link.symlink_to(states["b"].folder.name)
    for item, made in states.items():
        record = SimpleNamespace(
            expid="base", dataset_id="Toy_s1", fingerprints={"data": made.fingerprint}
        )
        found = prepared_data(cast(RunRecord, record), checkout, None)
        assert found.array("item").tolist() == [item] * 8
