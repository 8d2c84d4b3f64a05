"""Reading encoded parquet columns into contiguous numpy arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.parquet import reading


def parquet_parts(data_path: Path | str) -> list[Path]:
    """Files of a data path: one parquet file, or the parts of a folder in name order.

    Raises:
        DataError: there is no such file, or the folder has no parquet file.
    """
    path = Path(data_path)
    parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not parts or not parts[0].is_file():
        raise DataError(
            f"{path}: expected a parquet file or a folder of them, found none. "
            "Build the encoded data first."
        )
    return parts


def row_count(parts: list[Path]) -> int:
    """Rows of all parts."""
    with reading(parts[0].parent):
        return sum(pq.read_metadata(path).num_rows for path in parts)


def column_names(parts: list[Path]) -> list[str]:
    """Column names of the first part; every part of one data set has the same."""
    with reading(parts[0]):
        return list(pq.read_schema(parts[0]).names)


def read_column(parts: list[Path], name: str) -> np.ndarray:
    """One column of all parts.

    Returns:
        (N,) for scalars, (N, width) for lists of one common length; the stored dtype.
    Raises:
        DataError: the column is missing, holds nulls, text, or lists of different lengths.
    """
    arrays = [_read_part(path, name) for path in parts]
    if len({array.shape[1:] for array in arrays}) > 1:
        raise DataError(f"{parts[0].parent}: column {name}: list lengths differ between the parts")
    return np.ascontiguousarray(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))


def _read_part(path: Path, name: str) -> np.ndarray:
    with reading(f"{path}: column {name}"), pq.ParquetFile(path) as file:
        table = file.read(columns=[name])
    if name not in table.column_names:
        raise DataError(
            f"{path}: expected a column {name}, found {column_names([path])}. Rebuild the encoded "
            "data or take the feature out of the configuration."
        )
    column = table.column(name).combine_chunks()
    if column.null_count:
        raise DataError(f"{path}: column {name}: expected no nulls, found {column.null_count}")
    width = None
    if pa.types.is_nested(column.type):
        width = _list_width(path, name, column)
        column = column.flatten()
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(
            f"{path}: column {name}: expected encoded numbers, found {column.type}. "
            "Is this a raw file? Give the loader the encoded one."
        )
    values = column.to_numpy(zero_copy_only=False)
    return values if width is None else values.reshape(len(table), width)


def _list_width(path: Path, name: str, column: pa.Array) -> int:
    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) > 1:
        raise DataError(
            f"{path}: column {name}: expected lists of one length, found {lengths[0]} to "
            f"{lengths[-1]}"
        )
    return int(lengths[0]) if len(lengths) else 0
