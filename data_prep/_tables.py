"""Reading raw tables with exact types: finding files, parquet with progress, errors that help.

Nothing is converted on the way: text stays text, integers stay integers, and a missing value never
makes floats of the column that it is in.
"""

from __future__ import annotations

import csv
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from _text_files import progress, read_text, refuse_bomb, text_header

from fuxictr_loopfm.errors import DataError, did_you_mean

_UNREADABLE = (OSError, EOFError, zlib.error, pa.ArrowException, UnicodeDecodeError)
_TEXTS = (
    *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
)
_KEPT = (
    *(pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_decimal),
    *(pa.types.is_float32, pa.types.is_float64, pa.types.is_timestamp, pa.types.is_date),
)


def read_tables(
    paths: Sequence[Path], columns: Sequence[str], *, optional: Iterable[str] = ()
) -> pd.DataFrame:
    """Read and concatenate tables of the same columns.

    csv and tsv (also ``.gz``) are read as text, exactly as written; parquet keeps its types.
    Integers and booleans with missing values have pandas' nullable types.

    Args:
        paths: files, concatenated in this order.
        columns: columns that must be there, in the order of the result.
        optional: columns to read where every file has them.

    Raises:
        DataError: a file is missing, unreadable or lacks a column.
    """
    headers = {path: read_header(path) for path in paths}
    for path, header in headers.items():
        require_columns(path, header, columns)
    extra = [name for name in optional if all(name in header for header in headers.values())]
    frames = [_to_pandas(read_exact(path, [*columns, *extra])) for path in paths]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def read_exact(path: Path, columns: Sequence[str], quoting: str = "standard") -> pa.Table:
    """Columns of one file as plain values: ``large_string`` for text, else the file's own type.

    Args:
        path: csv, tsv (also ``.gz``; all text) or parquet.
        columns: which, in the order of the result.
        quoting: of text files, see ``read_text``.

    Raises:
        DataError: the file cannot be read, or a column holds no single texts, numbers or times.
    """
    try:
        if _is_parquet(path):
            table = _read_parquet(path, columns)
        else:
            table = read_text(path, columns, quoting)
        refuse_bomb(path, sum(_text_bytes(column) for column in table.columns))
        plain = [_plain(path, name, table.column(name)) for name in columns]
    except pa.ArrowMemoryError:
        raise  # the file is not to blame
    except (*_UNREADABLE, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error
    return pa.table(plain, names=list(columns))


def _plain(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(path, name, column.cast(kind.storage_type))
    if pa.types.is_dictionary(kind):
        if pa.types.is_nested(kind.value_type):
            raise DataError(f"{path}: {name}: expected one value per row, found {kind}")
        # To larger text first: the codes of a short dictionary may stand for gigabytes.
        texts = any(test(kind.value_type) for test in _TEXTS)
        return _plain(path, name, column.cast(pa.large_string() if texts else kind.value_type))
    if any(test(kind) for test in _TEXTS):
        return column.cast(pa.large_string())
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if not any(test(kind) for test in _KEPT):
        problem = "one value per row" if pa.types.is_nested(kind) else "text, numbers or times"
        raise DataError(f"{path}: {name}: expected {problem}, found {kind}")
    return column


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    nullable = {
        **{
            pa.type_for_alias(f"{sign}int{bits}"): pd.api.types.pandas_dtype(f"{upper}Int{bits}")
            for sign, upper in (("", ""), ("u", "U"))
            for bits in (8, 16, 32, 64)
        },
        pa.bool_(): pd.BooleanDtype(),
    }
    return pd.DataFrame(
        {
            name: column.to_pandas(types_mapper=nullable.get if column.null_count else None)
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )


def read_header(path: Path, quoting: str = "standard") -> list[str]:
    """Column names of a csv, tsv or parquet file."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        if _is_parquet(path):
            names = list(pq.read_schema(path).names)
        else:
            names = text_header(path, quoting)
    except (*_UNREADABLE, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path}: expected each column once, found {_some(twice)} more than once")
    return names


def require_columns(path: Path | str, found: Sequence[str], expected: Iterable[str]) -> None:
    """Raise DataError that names every missing column, the nearest found one and all found."""
    missing = [name for name in expected if name not in found]
    if missing:
        hints = ", ".join(f"{name!r}{did_you_mean(name, found)}" for name in missing)
        raise DataError(f"{path}: missing columns {hints}; found {_some(found)}")


def find_one(folders: Sequence[Path], patterns: Sequence[str], what: str) -> Path:
    """The single file in ``folders`` that matches one of ``patterns``."""
    found = find_all(folders, patterns)
    if len(found) != 1:
        names = ", ".join(str(path) for path in found) or "none"
        raise DataError(
            f"{folders[0]}: expected one {what} ({' or '.join(patterns)}), found {names}"
        )
    return found[0]


def find_all(folders: Sequence[Path], patterns: Sequence[str]) -> list[Path]:
    """All files in ``folders`` (not below) that match one of ``patterns``, sorted by name."""
    matches = {
        path
        for folder in folders
        if folder.is_dir()
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.is_file()
    }
    return sorted(matches, key=lambda path: (path.name, str(path)))


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def _read_parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    batches = []
    with (
        open_parquet(path, columns) as file,
        progress(path, file.metadata.num_rows, "rows") as bar,
    ):
        for batch in file.iter_batches(batch_size=1 << 18, columns=list(columns)):
            batches.append(batch)
            bar.update(batch.num_rows)
        if batches:
            return pa.Table.from_batches(batches)
        return file.schema_arrow.empty_table().select(list(columns))


def open_parquet(path: Path, columns: Sequence[str]) -> pq.ParquetFile:
    """A file whose texts come as codes into a dictionary: a short one may stand for terabytes."""
    flat = [item.name for item in pq.read_schema(path) if not pa.types.is_nested(item.type)]
    return pq.ParquetFile(path, read_dictionary=[name for name in columns if name in flat])


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of text that a dictionary column stands for."""
    if not pa.types.is_dictionary(column.type) or pa.types.is_nested(column.type.value_type):
        return 0
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary.cast(pa.large_string()))
        total += pc.sum(lengths.take(chunk.indices.drop_null())).as_py() or 0
    return total


def _some(names: Sequence[str]) -> str:
    """The names for a message, not a million of them."""
    return f"{list(names)}" if len(names) <= 50 else f"{list(names[:50])} and others"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
