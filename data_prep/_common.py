"""What the preparation scripts share: numbers, categories, periods, histories, the command line."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from _values import category

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import DataError, LoopFMError, OutputError
from fuxictr_loopfm.exits import one_message
from fuxictr_loopfm.prepared.columns_io import time_unit_problem
from fuxictr_loopfm.prepared.dataset import DatasetSpec, write_prepared
from fuxictr_loopfm.prepared.parts import short
from fuxictr_loopfm.structuring.as_of import history_bounds
from fuxictr_loopfm.structuring.order import sort_order

HISTORY_LENGTH = 50
Sequences = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class EventList:
    """Past events that a teacher's history is drawn from; three arrays (E,) in log order.

    Attributes:
        user: int64 codes.
        time: int64, in the log's unit.
        token: text, values of the item column.
    """

    user: np.ndarray
    time: np.ndarray
    token: np.ndarray


def run(
    main: Callable[[argparse.Namespace], None],
    parser: argparse.ArgumentParser,
    arguments: list[str] | None,
) -> int:
    """Parse ``arguments`` and run; the exit code, see ``exits``."""
    try:
        with one_message():
            options = parser.parse_args(arguments)
            try:
                main(options)
            except LoopFMError as error:
                raise LoopFMError(f"{error}\n{_remedy(error, options)}") from error
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _remedy(error: LoopFMError, options: argparse.Namespace) -> str:
    """What to do, by what the error is about: the output, a spec, or the raw files."""
    if isinstance(error, OutputError):
        return "Nothing was written. Give another --out."
    if "spec" in options:
        return (
            f"Nothing was written. Correct {options.spec} or the log that it names; "
            "data_prep/custom_example.yaml explains every key."
        )
    named = "--data" if "data" in options else "--reviews and --meta"
    return (
        f"Nothing was written. Correct the files, or {named}; data_prep/README.md says which files "
        "are needed and where they are from."
    )


def make_parser(description: str, example: str) -> argparse.ArgumentParser:
    """A parser with ``--out``, ``--drop-last-period`` and an example in its help."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=user_path, required=True, help="folder to write")
    parser.add_argument(
        "--drop-last-period",
        action="store_true",
        help="leave the last period out, so that hyper-parameters are chosen on the period before"
        " the test; the dataset_id becomes <Name>_dev_s1",
    )
    return parser


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is going on and how long it took."""
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        yield
    except BaseException:
        print(file=sys.stderr)
        raise
    print(f"{time.perf_counter() - started:.1f} s", file=sys.stderr)


def to_integers(column: pd.Series, where: str) -> np.ndarray:
    """int64 values (N,) of a column that must hold integers, as numbers or as text.

    Raises:
        DataError: a value is missing or no integer; ``where`` names file and column.
    """
    numbers = to_numbers(column, where)
    if numbers.dtype.kind == "f":
        inside = np.isfinite(numbers) & (numbers.abs() < 2.0**63)
        wrong = ~(inside & (numbers == np.floor(numbers))).to_numpy()
        _refuse(column, wrong, f"{where}: expected integers")
    values: np.ndarray = numbers.to_numpy().astype(np.int64)
    return values


def to_numbers(column: pd.Series, where: str, *, missing: bool = False) -> pd.Series:
    """Numbers of a column that may be text; NaN only where ``missing`` values are allowed."""
    absent = column.isna().to_numpy()
    if column.dtype.kind not in "iufb":
        absent = absent | (column == "").to_numpy(dtype=bool, na_value=False)
    numbers = pd.to_numeric(column.where(~absent) if absent.any() else column, errors="coerce")
    wrong = numbers.isna().to_numpy() & ~(absent & missing)
    _refuse(column, wrong, f"{where}: expected numbers")
    return numbers


def to_category(column: pd.Series) -> pd.Series:
    """Text categories: missing is ``""``, whole numbers have no decimal point."""
    values = pa.chunked_array([pa.array(column, from_pandas=True)])
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_string(values.type):
        values = values.cast(pa.large_string())
    return category(values).values.to_pandas().set_axis(column.index)


def log2_bucket(numbers: pd.Series | np.ndarray, per_octave: int = 1) -> pd.Series:
    """``""`` missing, ``-`` negative, ``0`` zero, otherwise the count of started (half) octaves.

    With ``per_octave`` 1: 1 -> "1", 2 and 3 -> "2", 4 to 7 -> "3"; values below 1 join "1".
    """
    values = pd.Series(numbers).to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        octave = np.floor(np.log2(np.maximum(values, 1)) * per_octave)
    octave = np.where(values == 0, -1, octave)
    text = pd.Series(np.where(np.isnan(values), -1, octave + 1).astype(np.int64)).astype("str")
    return text.mask(values < 0, "-").mask(np.isnan(values), "")


def day_periods(timestamp: np.ndarray, unit: str, timezone: str) -> tuple[np.ndarray, list[str]]:
    """Periods (N,) int32 from 1 by calendar day, and each period's date.

    Args:
        timestamp: (N,) int64, non-decreasing.
        unit: s, ms or us.
        timezone: name of a time zone, such as ``Asia/Shanghai``.
    """
    local = pd.DatetimeIndex(pd.to_datetime(timestamp, unit=unit, utc=True)).tz_convert(timezone)
    day = local.tz_localize(None).to_numpy().astype("datetime64[D]")
    # Where clocks go back over midnight, the repeated hour stays in the later day.
    day = np.maximum.accumulate(day)
    period = (day - day[0]).astype(np.int64) + 1
    dates = [str(day[0] + offset) for offset in range(int(period[-1]))]
    return period.astype(np.int32), dates


def chunk_periods(timestamp: np.ndarray, count: int) -> np.ndarray:
    """Periods (N,) int32: ``count`` chunks of equal size; events of one time stay together."""
    cuts = np.arange(1, count) * len(timestamp) // count
    starts = np.searchsorted(timestamp, timestamp[cuts], side="left")
    return np.searchsorted(starts, np.arange(len(timestamp)), side="right").astype(np.int32) + 1


def check_times(timestamp: np.ndarray, unit: str, where: str) -> None:
    """Raise DataError if the years cannot be right; ``where`` names file and column."""
    problem = time_unit_problem(timestamp, unit)
    if problem:
        raise DataError(f"{where}: {problem}")


def check_period_count(count: int, teacher: int, what: str) -> None:
    """Raise DataError unless periods are left for the vertical model and for the test."""
    if count < teacher + 2:
        raise DataError(
            f"{what}: expected at least {teacher + 2} periods ({teacher} for the teacher, 1 for the"
            f" vertical model, 1 for the test), found {count}"
        )


def dev_cut(
    dataset_id: str, period: np.ndarray, count: int, drop_last: bool
) -> tuple[str, int, int]:
    """``(dataset_id, periods, rows)`` that stay; without the last period if ``drop_last``."""
    if not drop_last:
        return dataset_id, count, len(period)
    name, _, version = dataset_id.rpartition("_s")
    return f"{name}_dev_s{version}", count - 1, int(np.searchsorted(period, count))


def user_histories(
    events: EventList, sample_user: np.ndarray, sample_time: np.ndarray, max_len: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(values, end, length)``: each sample's newest tokens strictly before its own time.

    Args:
        events: E events; those of one user and time keep their order.
        sample_user: (N,) int64 codes.
        sample_time: (N,) int64.
        max_len: most tokens per sample.
    """
    order = sort_order(events.user, events.time)
    end, length = history_bounds(
        events.user[order], events.time[order], sample_user, sample_time, max_len=max_len
    )
    codes, tokens = pd.factorize(events.token[order])
    encoded = np.char.encode(np.asarray(tokens, dtype=np.str_), "utf-8")
    return encoded[codes], end, length.astype(np.uint16)


def write_and_describe(
    out: Path,
    spec: DatasetSpec,
    frame: pd.DataFrame,
    sequences: Sequences,
    beside: Mapping[str, Path] | None = None,
) -> None:
    """Write the prepared data set and print what is in it; arguments as of ``write_prepared``."""
    with step(f"write {out}"):
        prepared = write_prepared(out, spec, frame, sequences, beside)
    print(prepared.describe())


def _refuse(column: pd.Series, wrong: np.ndarray, message: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{message}, found {short(column.iloc[row])} in data row {row + 1}"
            f" ({int(wrong.sum())} such rows)"
        )
