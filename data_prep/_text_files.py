"""csv and tsv files (also ``.gz``) as text, exactly as written, with stray quotes found first.

A quote that opens a value and is not closed on its line makes every csv reader take the following
rows for a part of that value: rows vanish without a word. So each line is checked before a file
is read, unless the caller says how quotes are meant.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from tqdm import tqdm

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.parts import short

QUOTING = ("standard", "none", "multiline")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_HEADER_BYTES = 1 << 20
_BLOCK = 1 << 24
# Logs shrink 5 to 30 times; what grows 64 times over is made to fill the memory.
_MOST_GROWTH, _FREE_GROWTH = 64, 64 << 20


def separator(path: Path) -> str:
    """The character between values, by the file's ending.

    Raises:
        DataError: another ending.
    """
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix not in _SEPARATORS:
        raise DataError(f"{path}: expected a .csv, .tsv (also .gz) or .parquet file")
    return _SEPARATORS[suffix]


def text_header(path: Path, quoting: str = "standard") -> list[str]:
    """The first record of a csv file, of which only the first megabyte is looked at."""
    with _opened(path) as stream:
        start = stream.read(_HEADER_BYTES)
    if len(start) == _HEADER_BYTES and b"\n" not in start:
        raise DataError(
            f"{path}: expected a line end within the first {_HEADER_BYTES:,} bytes, found none"
        )
    # A character that the cut went through is not part of the header.
    text = start.decode("utf-8-sig", errors="strict" if len(start) < _HEADER_BYTES else "ignore")
    for record in _records(io.StringIO(text, newline=""), path, quoting):
        if record:
            return record
    raise DataError(f"{path}: expected a header and rows, found none")


def read_text(path: Path, columns: Sequence[str], quoting: str = "standard") -> pa.Table:
    """The named columns as strings, exactly as written; an empty value is ``""``.

    Args:
        path: a file whose header has the columns.
        columns: which to read.
        quoting: ``standard``: a value in quotes may hold separators, and ends on its line;
            ``multiline``: it may hold line ends too; ``none``: a quote is a character like others.

    Raises:
        DataError: a stray quote, or text that unpacks beyond reason.
    """
    if quoting == "standard":
        _refuse_stray_quotes(path)
    convert = pa_csv.ConvertOptions(
        include_columns=list(columns),
        column_types={name: pa.string() for name in columns},
        strings_can_be_null=False,
    )
    parse = pa_csv.ParseOptions(
        delimiter=separator(path),
        quote_char=False if quoting == "none" else '"',
        newlines_in_values=quoting == "multiline",
    )
    options = pa_csv.ReadOptions(block_size=_BLOCK)
    batches = []
    with path.open("rb") as raw, progress(path, path.stat().st_size, "B") as bar:
        packed = path.suffix.lower() == ".gz"
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        file = pa.PythonFile(stream, mode="r")
        try:
            with pa_csv.open_csv(file, options, parse, convert) as reader:
                for batch in reader:
                    refuse_bomb(path, stream.tell())
                    batches.append(batch)
                    bar.update(raw.tell() - bar.n)
                return pa.Table.from_batches(batches, reader.schema)
        except pa.ArrowInvalid as error:
            place = _ragged_line(path, quoting)
            if place is None:
                raise
            raise DataError(f"{path}: {place}: cannot be read: {error}") from error


def line_of_row(path: Path, row: int, quoting: str = "standard") -> int:
    """The line (from 1, the header's) on which data row ``row`` (from 1) of a file begins."""
    with _opened(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as stream:
        reader = _records(stream, path, quoting)
        seen, before = -1, 0
        for record in reader:
            seen += bool(record)
            if seen == row:
                return before + 1
            before = reader.line_num
    return before


def refuse_bomb(path: Path, unpacked: int) -> None:
    """Raise DataError if a file stands for far more bytes than it has."""
    packed = path.stat().st_size
    if unpacked > _MOST_GROWTH * packed + _FREE_GROWTH:
        raise DataError(
            f"{path}: expected at most {_MOST_GROWTH} times its {packed:,} bytes when unpacked, "
            f"found {unpacked:,} and more; unpack it yourself if that is what it holds"
        )


def progress(path: Path, total: int, unit: str) -> tqdm:
    """A progress bar on a terminal, for what takes longer than a second."""
    return tqdm(
        total=total,
        desc=f"read {path.name}",
        unit=unit,
        unit_scale=True,
        delay=1.0,
        disable=not sys.stderr.isatty(),
    )


def _opened(path: Path) -> BinaryIO:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    return opened(path, "rb")  # type: ignore[return-value]


def _records(stream: io.TextIOBase, path: Path, quoting: str) -> csv._reader:
    style = csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL
    return csv.reader(stream, delimiter=separator(path), quoting=style)


def _ragged_line(path: Path, quoting: str) -> str | None:
    """Where a record first has another number of values than the header."""
    with _opened(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="") as stream:
        reader = _records(stream, path, quoting)
        width = before = 0
        for record in reader:
            width = width or len(record)
            if record and len(record) != width:
                return f"line {before + 1}"
            before = reader.line_num
    return None


def _refuse_stray_quotes(path: Path) -> None:
    """Raise DataError at the first line whose quotes do not open and close whole values."""
    mark = re.escape(separator(path))
    value = f'(?:"(?:[^"]|"")*"|[^"{mark}][^{mark}]*|)'
    well_formed = f"^{value}(?:{mark}{value})*$"
    line = 0
    with _opened(path) as stream:
        for block in _whole_lines(stream, path):
            if b'"' in block:
                lines = _lines(block)
                wrong = pc.and_(
                    pc.match_substring(lines, '"'),
                    pc.invert(pc.match_substring_regex(lines, well_formed)),
                )
                first = pc.index(wrong, True).as_py()
                if first >= 0:
                    text = lines[first].as_py().decode("utf-8", errors="replace")
                    raise DataError(
                        f"{path}: line {line + first + 1}: expected every value in quotes to end "
                        f"on its line and before a separator, found {short(text)}; rows after a "
                        "stray quote would be taken for a part of its value. Correct the line, or "
                        "say in the spec how quotes are meant: quoting: none (characters like "
                        "others) or quoting: multiline (values may hold line ends)"
                    )
                line += len(lines)
            else:
                line += block.count(b"\n")


def _whole_lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """Blocks that end with a line, with ``\\n`` for every kind of line end."""
    rest, unpacked = b"", 0
    while block := stream.read(_BLOCK):
        unpacked += len(block)
        refuse_bomb(path, unpacked)
        block = rest + block
        if block.endswith(b"\r"):
            block += stream.read(1)
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = block.rfind(b"\n") + 1
        rest = block[cut:]
        if cut:
            yield block[:cut]
    if rest:
        yield rest + b"\n"


def _lines(block: bytes) -> pa.Array:
    """The lines of a block that ends with a line, as binary values without their ends."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    # Each value is a line without its end: the ends are values of one byte, and skipped.
    offsets = np.append(np.stack([starts, ends], axis=1).reshape(-1), len(block)).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    every = pa.Array.from_buffers(pa.binary(), 2 * len(ends), buffers)
    return every.take(pa.array(np.arange(0, 2 * len(ends), 2)))
