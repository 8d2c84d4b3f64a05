"""Any log with a user, an item, a time and a 0/1 label, prepared as a spec file says.

``custom_example.yaml`` beside this script explains every key. Ids are kept exactly: text as it is
written, integers with all their digits. Missing categories become ``""``; whole numbers lose their
decimal point; rows are put in time order.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from _common import (
    EventList,
    Sequences,
    check_period_count,
    chunk_periods,
    day_periods,
    dev_cut,
    make_parser,
    run,
    step,
    user_histories,
    write_and_describe,
)
from _custom_columns import labels, stored_columns, times, user_keys
from _custom_log import read_log
from _custom_spec import CustomSpec, load_spec

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.prepared.columns_io import check_periods
from fuxictr_loopfm.prepared.dataset import Periods


def main(args: argparse.Namespace) -> None:
    """Read, filter, order, cut into periods, derive features, write."""
    spec = load_spec(args.spec)
    with step("read the log"):
        log = read_log(spec)
    with step("check labels and times"):
        label = labels(spec, log)
        time, unit = times(spec, log)
        order = np.argsort(time, kind="stable")
        label, time = label[order], time[order]
        period, names = periods(spec, time, unit)
    dataset_id, count, rows = dev_cut(
        spec.dataset_id, period, int(period[-1]), args.drop_last_period
    )
    check_period_count(count, spec.teacher_periods, str(args.spec))
    check_periods(period[:rows], label[:rows], count, names[:count])
    with step("derive features"):
        columns = stored_columns(spec, log)
        frame = frame_of(columns, order[:rows])
        user = pc.take(columns[spec.user], pa.array(order[:rows]))
        frame[spec.user_key] = user_keys(spec, user).to_pandas()
        frame.insert(0, "timestamp", time[:rows])
        frame.insert(1, "period", period[:rows])
        frame.insert(2, spec.label.name, label[:rows])
        sequences = histories(spec, frame)
    description = spec.describe_dataset(
        dataset_id, Periods.split(count, spec.teacher_periods), rule(spec, names[:count]), unit
    )
    write_and_describe(args.out, description, frame, sequences)


def periods(spec: CustomSpec, time: np.ndarray, unit: str) -> tuple[np.ndarray, list[str]]:
    """Period (N,) int32 of each row and what to call each period."""
    if spec.periods.timezone is not None:
        return day_periods(time, unit, spec.periods.timezone)
    count = spec.periods.count or 0
    return chunk_periods(time, count), [f"chunk {number}" for number in range(1, count + 1)]


def rule(spec: CustomSpec, names: list[str]) -> str:
    """The period rule in words."""
    if spec.periods.timezone is not None:
        return f"calendar day in {spec.periods.timezone}, {names[0]} to {names[-1]}"
    return (
        f"chunks of equal size in time order ({len(names)} of {spec.periods.count}), ties together"
    )


def frame_of(columns: dict[str, Any], rows: np.ndarray) -> pd.DataFrame:
    """The columns as a table of ``rows`` (M,), in that order."""
    taken = {
        name: values[rows] if isinstance(values, np.ndarray) else pc.take(values, pa.array(rows))
        for name, values in columns.items()
    }
    return pd.DataFrame(
        {
            name: values if isinstance(values, np.ndarray) else values.to_pandas()
            for name, values in taken.items()
        }
    )


def histories(spec: CustomSpec, frame: pd.DataFrame) -> Sequences:
    """The teacher's item history, if the spec asks for one."""
    if spec.history is None:
        return {}
    user = pd.factorize(frame[spec.user_key])[0]
    time = frame["timestamp"].to_numpy()
    events = EventList(user, time, frame[spec.item].to_numpy(dtype=object))
    return {spec.history.name: user_histories(events, user, time, spec.history.max_len)}


def cli(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (default: the command line); the exit code."""
    command = make_parser(
        "Prepare your own log (csv or parquet) as a spec file says.",
        "python data_prep/custom.py --spec data_prep/custom_example.yaml --out data/MyShop_s1",
    )
    command.add_argument("--spec", type=user_path, required=True, help="YAML file; see the example")
    return run(main, command, arguments)


if __name__ == "__main__":
    sys.exit(cli())
