"""What a prepared data set must hold, and writing it: checks on the rows, parquet and h5 files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fuxictr_loopfm.errors import DataError, did_you_mean
from fuxictr_loopfm.files.atomic import require_space
from fuxictr_loopfm.files.plain_h5 import H5_ERRORS, dataset_problem, file_problem
from fuxictr_loopfm.prepared.parts import Column
from fuxictr_loopfm.prepared.spec import DatasetSpec
from fuxictr_loopfm.spec import UNITS_PER_SECOND

EVENTS_FILE = "events.parquet"
SEQUENCES_FILE = "sequences.h5"
SPEC_FILE = "dataset.yaml"
SequenceArrays = tuple[np.ndarray, np.ndarray, np.ndarray]
_ROW_GROUP = 1 << 18
_EARLIEST = datetime(1990, 1, 1, tzinfo=timezone.utc).timestamp()
_LATEST = datetime(2100, 1, 1, tzinfo=timezone.utc).timestamp()


def time_unit_problem(timestamps: np.ndarray, unit: str) -> str | None:
    """Why timestamps (N,) int64 cannot be in ``unit``, or None if the years are plausible.

    Epoch times in the wrong unit fall decades before or millennia after any real log; a unit that
    would fit is named.
    """
    if unit == "ordinal" or not len(timestamps):
        return None
    low, high = int(timestamps.min()), int(timestamps.max())
    if _fits(low, high, unit):
        return None
    fitting = [name for name in ("s", "ms", "us") if _fits(low, high, name)]
    remedy = f"they fit unit {fitting[0]!r}" if fitting else "no known unit fits"
    return (
        f"expected times in {unit!r} between 1990 and 2100, found {low} to {high}; {remedy}"
        " (times that are no clock at all are 'ordinal')"
    )


def checked_frame(spec: DatasetSpec, frame: pd.DataFrame) -> pd.DataFrame:
    """The stored columns of ``frame`` in their final order and dtypes, every invariant checked.

    Args:
        spec: the description; ``rows`` and ``files`` are ignored.
        frame: ``timestamp``, ``period``, the label, all feature and side columns, in time order.

    Raises:
        DataError: a rule is broken; the message names the column and what was found.
    """
    names = ["timestamp", "period", spec.label]
    names += [column.name for column in spec.columns] + list(spec.side_columns)
    for name in names:
        if name not in frame.columns:
            raise DataError(f"column {name!r} is missing{did_you_mean(name, frame.columns)}")
    if not len(frame):
        raise DataError("the log is empty: expected at least one row")
    label = _integers(frame, spec.label)
    check_labels(label, spec.label)
    stored: dict[str, object] = {
        "event_id": np.arange(len(frame), dtype=np.int64),
        "timestamp": _checked_times(frame, spec.time_unit),
        "period": _integers(frame, "period").astype(np.int32),
        spec.label: label.astype(np.int8),
    }
    check_periods(_integers(frame, "period"), label, spec.periods.count)
    for column in spec.columns:
        stored[column.name] = _checked_feature(frame, column)
    for name in spec.side_columns:
        if frame[name].isna().any():
            raise DataError(f"side column {name!r}: {_missing(frame[name])}")
        stored[name] = frame[name].array
    return pd.DataFrame(stored, copy=False)


def check_labels(values: np.ndarray, name: str) -> None:
    """Refuse labels (N,) of column ``name`` that are not 0 or 1.

    Raises:
        DataError: names some of them, and how many there are.
    """
    wrong = values[(values != 0) & (values != 1)]
    if len(wrong):
        raise DataError(
            f"label {name!r}: expected 0 or 1, found {np.unique(wrong)[:5].tolist()} "
            f"in {len(wrong)} of {len(values)} rows"
        )


def check_periods(
    period: np.ndarray, label: np.ndarray, count: int, names: Sequence[str] = ()
) -> None:
    """Refuse periods that do not run from 1 to ``count`` in row order, each with both classes.

    Args:
        period: (N,) integers.
        label: (N,) 0 or 1.
        count: the number of periods.
        names: what to call each period in a message, such as its date.

    Raises:
        DataError: the first row or period that breaks this.
    """
    if np.any(np.diff(period) < 0):
        row = int(np.argmax(np.diff(period) < 0)) + 1
        raise DataError(
            f"period: expected non-decreasing, found {period[row]} after {period[row - 1]} "
            f"in row {row}; sort the rows by time"
        )
    if period[0] < 1 or period[-1] > count:
        raise DataError(f"period: expected 1 to {count}, found {period[0]} to {period[-1]}")
    rows = np.bincount(period, minlength=count + 1)
    positives = np.bincount(period, weights=label, minlength=count + 1)
    for number in range(1, count + 1):
        where = f"period {number} of {count}" + (f" ({names[number - 1]})" if names else "")
        if not rows[number]:
            raise DataError(f"{where}: expected at least one row, found none")
        if positives[number] in (0, rows[number]):
            raise DataError(
                f"{where}: expected both classes, all {rows[number]} labels "
                f"are {int(positives[number] > 0)}"
            )


def check_sequences(spec: DatasetSpec, sequences: Mapping[str, SequenceArrays], rows: int) -> None:
    """Refuse sequences whose pointers do not fit their values and the events.

    Args:
        spec: which sequences there are, and their max_len.
        sequences: by name, values (M,) bytes, end (N,) and len (N,) integers.
        rows: N, events of the log.

    Raises:
        DataError: the first sequence and row that breaks this.
    """
    expected = [sequence.name for sequence in spec.sequences]
    if sorted(expected) != sorted(sequences):
        raise DataError(f"sequences: expected {sorted(expected)}, found {sorted(sequences)}")
    for sequence in spec.sequences:
        values, end, length = sequences[sequence.name]
        where = f"sequence {sequence.name!r}"
        if values.dtype.kind != "S" or values.ndim != 1:
            raise DataError(f"{where}: values: expected fixed-length bytes, found {values.dtype}")
        for name, array in (("end", end), ("len", length)):
            if array.shape != (rows,) or array.dtype.kind not in "iu":
                raise DataError(
                    f"{where}: {name}: expected {rows} integers, found {array.dtype} {array.shape}"
                )
        length = length.astype(np.int64)
        bad = (end < 0) | (end > len(values)) | (length < 0) | (length > end)
        bad |= length > sequence.max_len
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"{where}: row {row}: end {end[row]}, len {length[row]} do not fit "
                f"{len(values)} values and max_len {sequence.max_len}"
            )


def write_events(path: Path, frame: pd.DataFrame) -> None:
    """Write a checked frame as zstd parquet; dictionary columns become plain text."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    schema = pa.schema([_plain_text(item) for item in table.schema])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, table.num_rows, _ROW_GROUP):
            # Per row group: text takes several times the memory of dictionary codes.
            writer.write_table(table.slice(start, _ROW_GROUP).cast(schema))


def write_sequences(path: Path, sequences: Mapping[str, SequenceArrays]) -> None:
    """Write ``/name/{values,end,len}`` contiguous and unfiltered."""
    require_space(path, sum(array.nbytes for arrays in sequences.values() for array in arrays))
    with h5py.File(path, "w") as file:
        for name, (values, end, length) in sorted(sequences.items()):
            group = file.create_group(name)
            group.create_dataset("values", data=values)
            group.create_dataset("end", data=end.astype(np.int64))
            group.create_dataset("len", data=length.astype(np.uint16))


def read_sequence(path: Path, name: str) -> SequenceArrays:
    """``values (M,) S``, ``end (N,) int64`` and ``len (N,) uint16`` of one sequence.

    Raises:
        DataError: the file is missing, truncated or has no such sequence.
    """
    dtypes = {"values": np.dtype("S"), "end": np.dtype("int64"), "len": np.dtype("uint16")}
    try:
        with h5py.File(path, "r") as file:
            problem = file_problem(file)
            for part, dtype in dtypes.items():
                problem = problem or dataset_problem(file, f"{name}/{part}", None, dtype)
            if problem is None:
                group = file[name]
                return group["values"][:], group["end"][:], group["len"][:]
    except H5_ERRORS as error:
        problem = str(error)
    raise DataError(
        f"{path}: cannot read sequence {name!r} ({problem}); prepare the data set again"
    )


def _fits(low: int, high: int, unit: str) -> bool:
    scale = UNITS_PER_SECOND[unit]
    return _EARLIEST * scale <= low and high < _LATEST * scale


def _missing(column: pd.Series) -> str:
    mask = column.isna().to_numpy()
    return f"{int(mask.sum())} missing values, the first in row {int(np.argmax(mask))}"


def _integers(frame: pd.DataFrame, name: str) -> np.ndarray:
    column = frame[name]
    if column.isna().any():
        raise DataError(f"column {name!r}: {_missing(column)}")
    if column.dtype.kind not in "iub":
        raise DataError(f"column {name!r}: expected integers, found {column.dtype}")
    values: np.ndarray = column.to_numpy().astype(np.int64)
    return values


def _checked_times(frame: pd.DataFrame, unit: str) -> np.ndarray:
    times = _integers(frame, "timestamp")
    problem = time_unit_problem(times, unit)
    if problem:
        raise DataError(f"timestamp: {problem}")
    backwards = times[1:] < times[:-1]
    if backwards.any():
        row = int(np.argmax(backwards)) + 1
        raise DataError(
            f"timestamp: expected rows in time order, found {times[row]} after {times[row - 1]} "
            f"in row {row}"
        )
    return times


def _checked_feature(frame: pd.DataFrame, column: Column) -> object:
    values = frame[column.name]
    if values.isna().any():
        raise DataError(
            f"column {column.name!r}: {_missing(values)}; "
            + ("write missing as ''" if column.type == "categorical" else "fill or bucket them")
        )
    if column.type == "categorical":
        texts = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
        if not pd.api.types.is_string_dtype(texts):
            raise DataError(f"column {column.name!r}: expected text, found {texts.dtype}")
        return values.array
    if values.dtype.kind not in "iufb":
        raise DataError(f"column {column.name!r}: expected numbers, found {values.dtype}")
    with np.errstate(over="ignore"):  # what overflows is reported below
        numbers = values.to_numpy().astype(np.float32)
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        raise DataError(
            f"column {column.name!r}: row {row}: expected a finite float32, "
            f"found {values.iloc[row]!r}"
        )
    return numbers


def _plain_text(item: pa.Field) -> pa.Field:
    if pa.types.is_dictionary(item.type) or pa.types.is_large_string(item.type):
        return pa.field(item.name, pa.string())
    return pa.field(item.name, item.type)
