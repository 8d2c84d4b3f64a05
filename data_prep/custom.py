"""Any log with a user, an item, a time and a 0/1 label, prepared as a spec file says.

``custom_example.yaml`` beside this script explains every key. Missing categories become ``""``;
whole numbers lose their decimal point; rows are put in time order.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from _common import (
    EventList,
    Sequences,
    check_period_count,
    check_times,
    chunk_periods,
    day_periods,
    dev_cut,
    log2_bucket,
    make_parser,
    run,
    step,
    to_category,
    to_integers,
    to_numbers,
    user_histories,
    write_and_describe,
)
from _custom_rules import KeepRule
from _custom_spec import CustomSpec, load_spec
from _tables import read_tables

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.columns_io import check_labels, check_periods
from fuxictr_loopfm.prepared.dataset import Periods
from fuxictr_loopfm.prepared.parts import short

_TRUTH = {"true": 1, "false": 0}


def main(args: argparse.Namespace) -> None:
    """Read, filter, order, cut into periods, derive features, write."""
    spec = load_spec(args.spec)
    with step("read the log"):
        log = read_log(spec)
    with step("check labels and times"):
        log, label, time, unit = ordered(spec, log)
        period, names = periods(spec, time, unit)
    dataset_id, count, rows = dev_cut(
        spec.dataset_id, period, int(period[-1]), args.drop_last_period
    )
    check_period_count(count, spec.teacher_periods, str(args.spec))
    check_periods(period[:rows], label[:rows], count, names[:count])
    with step("derive features"):
        frame = features(spec, log.iloc[:rows])
        frame.insert(0, "timestamp", time[:rows])
        frame.insert(1, "period", period[:rows])
        frame.insert(2, spec.label.name, label[:rows])
        sequences = histories(spec, frame)
    description = spec.describe_dataset(
        dataset_id, Periods.split(count, spec.teacher_periods), rule(spec, names[:count]), unit
    )
    write_and_describe(args.out, description, frame, sequences)


def read_log(spec: CustomSpec) -> pd.DataFrame:
    """The used columns, renamed; filtered by ``keep``; duplicates handled as asked."""
    original = {new: old for old, new in spec.rename.items()}
    wanted = [original.get(name, name) for name in spec.used_columns]
    log = read_tables([Path(path) for path in spec.log], wanted)
    log.columns = pd.Index(spec.used_columns)
    for condition in spec.keep:
        log = log[matches(log[condition.column], condition)]
    if not len(log):
        kept = " after keep" * bool(spec.keep)
        raise DataError(f"log: no rows in {', '.join(spec.log)}{kept}: expected at least one")
    log = log.reset_index(drop=True)
    return log if spec.duplicates == "keep" else without_copies(log, spec.duplicates == "drop")


def matches(column: pd.Series, condition: KeepRule) -> np.ndarray:
    """Which rows satisfy every condition that is given."""
    mask = np.ones(len(column), dtype=bool)
    values = [condition.equals] if condition.equals is not None else condition.one_of
    if values is not None:
        texts = to_category(pd.Series(list(values), dtype=object))
        mask &= to_category(column).isin(set(texts)).to_numpy()
    if condition.at_least is not None or condition.below is not None:
        numbers = to_numbers(column, f"keep: {condition.column}", missing=True)
        if condition.at_least is not None:
            mask &= (numbers >= condition.at_least).to_numpy(dtype=bool, na_value=False)
        if condition.below is not None:
            mask &= (numbers < condition.below).to_numpy(dtype=bool, na_value=False)
    return mask


def without_copies(log: pd.DataFrame, drop: bool) -> pd.DataFrame:
    """Drop rows that equal an earlier one in every used column, or refuse them."""
    copies = log.duplicated()
    if not copies.any():
        return log
    number, first = int(copies.sum()), int(np.argmax(copies))
    if not drop:
        raise DataError(
            f"log: {number:,} of {len(log):,} rows equal an earlier row in every used column, the "
            f"first is data row {first + 1}; set duplicates to drop or keep in the spec"
        )
    print(f"{number:,} duplicate rows dropped;", end=" ", file=sys.stderr)
    return log[~copies].reset_index(drop=True)


def ordered(
    spec: CustomSpec, log: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, str]:
    """``(log, label (N,) int8, time (N,) int64, unit)`` in time order; ties keep their order."""
    label = labels(spec, log[spec.label.column])
    time, unit = times(spec, log[spec.time.column])
    if np.any(time[1:] < time[:-1]):
        order = np.argsort(time, kind="stable")
        log, label, time = log.iloc[order], label[order], time[order]
    return log.reset_index(drop=True), label, time, unit


def labels(spec: CustomSpec, column: pd.Series) -> np.ndarray:
    """0/1 labels (N,) int8."""
    where = f"log: label {column.name!r}"
    if column.dtype.kind not in "iufb":
        truth = column.str.lower().map(_TRUTH)
        column = truth if truth.notna().all() else column
    if spec.label.at_least is not None:
        values = (to_numbers(column, where) >= spec.label.at_least).to_numpy()
    else:
        values = to_integers(column, where)
        check_labels(values, str(column.name))
    return np.asarray(values, dtype=np.int8)


def times(spec: CustomSpec, column: pd.Series) -> tuple[np.ndarray, str]:
    """Times (N,) int64 and their unit: ISO times and fractional seconds become microseconds."""
    where, unit = f"log: time {column.name!r}", spec.time.unit
    is_datetime = pd.api.types.is_datetime64_any_dtype(column.dtype)
    if is_datetime != (unit == "iso") and (is_datetime or column.dtype.kind in "iuf"):
        fitting = "iso" if is_datetime else "s, ms or us"
        raise DataError(
            f"{where}: unit is {unit!r} but the column is {column.dtype}; use {fitting}"
        )
    if unit == "iso":
        parsed = pd.to_datetime(column, utc=True, format="ISO8601", errors="coerce")
        wrong = parsed.isna().to_numpy()
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{where}: expected ISO 8601 times such as 2024-05-01T12:30:00, found "
                f"{short(column.iloc[row])} in data row {row + 1} ({int(wrong.sum())} such rows)"
            )
        values, unit = parsed.astype("datetime64[us, UTC]").astype("int64").to_numpy(), "us"
    else:
        numbers = to_numbers(column, where)
        if unit == "s" and numbers.dtype.kind == "f" and (numbers % 1 != 0).any():
            with np.errstate(invalid="ignore"):  # infinity becomes a year that is refused
                seconds = np.floor(numbers.to_numpy()).astype(np.int64)
            check_times(seconds, unit, where)
            numbers, unit = (numbers * 1e6).round(), "us"
        values = to_integers(numbers, where)
    check_times(values, unit, where)
    return values, unit


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


def features(spec: CustomSpec, log: pd.DataFrame) -> pd.DataFrame:
    """Feature, key and side columns in their stored types."""
    columns: dict[str, object] = {}
    for name in spec.features:
        where = f"log: {name}"
        if name in spec.numeric:
            columns[name] = to_numbers(log[name], f"{where} (numeric; bucket it if it has gaps)")
        elif name in spec.buckets:
            columns[name] = bucket(to_numbers(log[name], where, missing=True), spec.buckets[name])
        else:
            columns[name] = to_category(log[name])
    for name in (spec.user, spec.item):
        columns.setdefault(name, to_category(log[name]))
    for name in spec.side_columns:
        if name not in columns:
            numbers = pd.to_numeric(log[name], errors="coerce")
            columns[name] = numbers if numbers.notna().all() else to_category(log[name])
    return pd.DataFrame(columns)


def bucket(numbers: pd.Series, edges: str | list[float]) -> pd.Series:
    """Buckets as text: by powers of two, or the number of edges that are not above the value."""
    if isinstance(edges, str):
        return log2_bucket(numbers)
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    index = pd.Series(np.searchsorted(edges, values, side="right")).astype("str")
    return index.mask(np.isnan(values), "")


def histories(spec: CustomSpec, frame: pd.DataFrame) -> Sequences:
    """The teacher's item history, if the spec asks for one."""
    if spec.history is None:
        return {}
    user = pd.factorize(frame[spec.user])[0]
    time = frame["timestamp"].to_numpy()
    events = EventList(user, time, frame[spec.item].to_numpy(dtype=object))
    return {spec.history.name: user_histories(events, user, time, spec.history.max_len)}


def cli(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (default: the command line); the exit code."""
    command = make_parser(
        "Prepare your own log (csv or parquet) as a spec file says.",
        "python data_prep/custom.py --spec data_prep/custom_example.yaml --out data/MyShop_s1",
    )
    command.add_argument("--spec", type=Path, required=True, help="YAML file; see the example")
    return run(main, command, arguments)


if __name__ == "__main__":
    sys.exit(cli())
