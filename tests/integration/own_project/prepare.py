"""The project's log, a CSV file, as a prepared data set."""

import argparse

import pandas as pd

from fuxictr_loopfm import Column, DatasetSpec, Periods, write_prepared

DAY = 86_400
TEACHER_DAYS = 2

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--out", required=True)
options = parser.parse_args()

log = pd.read_csv(options.data).sort_values("timestamp", kind="stable", ignore_index=True)
day = log["timestamp"] // DAY
log["period"] = day - day[0] + 1
spec = DatasetSpec(
    dataset_id="Own_s1",
    label="click",
    user="user_id",
    item="item_id",
    time_unit="s",
    columns=(
        Column("user_id"),
        Column("item_id"),
        Column("genre"),
        Column("segment", views=("teacher",)),
    ),
    item_columns=("item_id", "genre"),
    periods=Periods.split(int(log["period"].iloc[-1]), teacher=TEACHER_DAYS),
    period_rule="days",
    source=options.data,
)
write_prepared(options.out, spec, log)
