"""Reading raw tables: finding files, csv and parquet with progress, errors that help."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from tqdm import tqdm

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.events_parts import did_you_mean

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_UNREADABLE = (OSError, pa.ArrowException, UnicodeDecodeError)


def read_tables(
    paths: Sequence[Path], columns: Sequence[str], *, optional: Iterable[str] = ()
) -> pd.DataFrame:
    """Read and concatenate tables of the same columns.

    csv and tsv (also ``.gz``) are read as text, exactly as written; parquet keeps its types.

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
    wanted = [*columns, *extra]
    frames = [_read(path, wanted) for path in paths]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def read_header(path: Path) -> list[str]:
    """Column names of a csv, tsv or parquet file."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        if _is_parquet(path):
            return list(pq.read_schema(path).names)
        return list(pd.read_csv(path, sep=_separator(path), nrows=0).columns)
    except (*_UNREADABLE, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error


def require_columns(path: Path | str, found: Sequence[str], expected: Iterable[str]) -> None:
    """Raise DataError that names every missing column, the nearest found one and all found."""
    missing = [name for name in expected if name not in found]
    if missing:
        hints = ", ".join(f"{name!r}{did_you_mean(name, found)}" for name in missing)
        raise DataError(f"{path}: missing columns {hints}; found {list(found)}")


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


def _separator(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix not in _SEPARATORS:
        raise DataError(f"{path}: expected a .csv, .tsv (also .gz) or .parquet file")
    return _SEPARATORS[suffix]


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = (_read_parquet if _is_parquet(path) else _read_csv)(path, columns)
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error
    plain = []
    for item in table.schema:
        if pa.types.is_nested(item.type):
            raise DataError(f"{path}: {item.name}: expected one value per row, found {item.type}")
        is_codes = pa.types.is_dictionary(item.type)
        plain.append(pa.field(item.name, item.type.value_type if is_codes else item.type))
    return table.cast(pa.schema(plain)).select(list(columns)).to_pandas()


def _read_parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    batches = []
    with pq.ParquetFile(path) as file, _progress(path, file.metadata.num_rows, "rows") as bar:
        for batch in file.iter_batches(batch_size=1 << 18, columns=list(columns)):
            batches.append(batch)
            bar.update(batch.num_rows)
        if batches:
            return pa.Table.from_batches(batches)
        return file.schema_arrow.empty_table().select(list(columns))


def _read_csv(path: Path, columns: Sequence[str]) -> pa.Table:
    convert = pa_csv.ConvertOptions(
        include_columns=list(columns),
        column_types={name: pa.string() for name in columns},
        strings_can_be_null=False,
    )
    parse = pa_csv.ParseOptions(delimiter=_separator(path), newlines_in_values=True)
    options = pa_csv.ReadOptions(block_size=1 << 24)
    batches = []
    with path.open("rb") as raw, _progress(path, path.stat().st_size, "B") as bar:
        stream = pa.PythonFile(raw, mode="r")
        if path.suffix.lower() == ".gz":
            stream = pa.CompressedInputStream(stream, "gzip")
        with pa_csv.open_csv(stream, options, parse, convert) as reader:
            for batch in reader:
                batches.append(batch)
                bar.update(raw.tell() - bar.n)
            return pa.Table.from_batches(batches, reader.schema)


def _progress(path: Path, total: int, unit: str) -> tqdm:
    return tqdm(
        total=total,
        desc=f"read {path.name}",
        unit=unit,
        unit_scale=True,
        delay=1.0,
        disable=not sys.stderr.isatty(),
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
