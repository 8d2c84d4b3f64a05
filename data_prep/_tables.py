"""Reading raw tables: finding files, csv and parquet with progress, errors that help."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from tqdm import tqdm

from fuxictr_loopfm.errors import DataError, did_you_mean

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_UNREADABLE = (OSError, EOFError, zlib.error, pa.ArrowException, UnicodeDecodeError)
_HEADER_BYTES = 1 << 20
# Logs shrink 5 to 30 times; what grows 64 times over is made to fill the memory.
_MOST_GROWTH, _FREE_GROWTH = 64, 64 << 20


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
        names = list(pq.read_schema(path).names) if _is_parquet(path) else _csv_header(path)
    except (*_UNREADABLE, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path}: expected each column once, found {_some(twice)} more than once")
    return names


def _csv_header(path: Path) -> list[str]:
    """The first record of a csv file, of which only the first megabyte is looked at."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as stream:
        start = stream.read(_HEADER_BYTES)
    if len(start) == _HEADER_BYTES and b"\n" not in start:
        raise DataError(
            f"{path}: expected a line end within the first {_HEADER_BYTES:,} bytes, found none"
        )
    # A character that the cut went through is not part of the header.
    text = start.decode("utf-8-sig", errors="strict" if len(start) < _HEADER_BYTES else "ignore")
    for record in csv.reader(io.StringIO(text, newline=""), delimiter=_separator(path)):
        if record:
            return record
    raise DataError(f"{path}: expected a header and rows, found none")


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


def _separator(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix not in _SEPARATORS:
        raise DataError(f"{path}: expected a .csv, .tsv (also .gz) or .parquet file")
    return _SEPARATORS[suffix]


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = (_read_parquet if _is_parquet(path) else _read_csv)(path, columns)
    except pa.ArrowMemoryError:
        raise  # the file is not to blame
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error
    plain = []
    _refuse_bomb(path, sum(_text_bytes(column) for column in table.columns))
    for item in table.schema:
        if pa.types.is_nested(item.type):
            raise DataError(f"{path}: {item.name}: expected one value per row, found {item.type}")
        is_codes = pa.types.is_dictionary(item.type)
        plain.append(pa.field(item.name, item.type.value_type if is_codes else item.type))
    return table.cast(pa.schema(plain)).select(list(columns)).to_pandas()


def _read_parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    batches = []
    with (
        open_parquet(path, columns) as file,
        _progress(path, file.metadata.num_rows, "rows") as bar,
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
        packed = path.suffix.lower() == ".gz"
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        file = pa.PythonFile(stream, mode="r")
        with pa_csv.open_csv(file, options, parse, convert) as reader:
            for batch in reader:
                _refuse_bomb(path, stream.tell())
                batches.append(batch)
                bar.update(raw.tell() - bar.n)
            return pa.Table.from_batches(batches, reader.schema)


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of text that a dictionary column stands for."""
    if not pa.types.is_dictionary(column.type) or pa.types.is_nested(column.type.value_type):
        return 0
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary.cast(pa.large_string()))
        total += pc.sum(lengths.take(chunk.indices.drop_null())).as_py() or 0
    return total


def _refuse_bomb(path: Path, unpacked: int) -> None:
    packed = path.stat().st_size
    if unpacked > _MOST_GROWTH * packed + _FREE_GROWTH:
        raise DataError(
            f"{path}: expected at most {_MOST_GROWTH} times its {packed:,} bytes when unpacked, "
            f"found {unpacked:,} and more; unpack it yourself if that is what it holds"
        )


def _progress(path: Path, total: int, unit: str) -> tqdm:
    return tqdm(
        total=total,
        desc=f"read {path.name}",
        unit=unit,
        unit_scale=True,
        delay=1.0,
        disable=not sys.stderr.isatty(),
    )


def _some(names: Sequence[str]) -> str:
    """The names for a message, not a million of them."""
    return f"{list(names)}" if len(names) <= 50 else f"{list(names[:50])} and others"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
