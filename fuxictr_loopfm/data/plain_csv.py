"""Whether each line of a csv file is one row, looked at before FuxiCTR's reader takes it apart.

A quote that opens a value and is not closed on its line makes every csv reader take the following
rows for a part of that value, values that a short row lacks are read as missing, and of two columns
of one name one is read: rows and values vanish without a word.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

import polars as pl

from fuxictr_loopfm.errors import DataError

# Stands in no text, so that each line is one value.
_NO_SEPARATOR = "\x00"


def require_one_row_a_line(path: Path, columns: Collection[str]) -> None:
    """Refuse a file in which a line is no row.

    Args:
        path: the file, its values divided by commas.
        columns: those that are read. If the header lacks one, nothing is said here.

    Raises:
        DataError: a column named twice, a quote that is not closed on its line, or a row with more
            or fewer values than the header.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        header = next(csv.reader([stream.readline()]), [])
    if not set(columns) <= set(header):
        return
    twice = sorted({name for name in columns if header.count(name) > 1})
    if twice:
        raise DataError(
            f"{path}: header: expected each column once, found {', '.join(twice)} twice. "
            "Rename or remove one of them."
        )
    outside_quotes = pl.col("line").str.replace_all('"[^"]*"', "")
    stray = outside_quotes.str.contains('"', literal=True)
    values = outside_quotes.str.count_matches(",", literal=True) + 1
    lines = pl.scan_csv(
        path,
        has_header=False,
        separator=_NO_SEPARATOR,
        quote_char=None,
        schema={"line": pl.String},
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
    ).with_row_index("number", offset=1)
    wrong = lines.filter((pl.col("line") != "") & (stray | (values != len(header))))
    first = wrong.select("number", stray.alias("stray"), values.alias("values")).head(1)
    for number, is_stray, found in first.collect(engine="streaming").iter_rows():
        if is_stray:
            raise DataError(
                f"{path}: line {number}: expected quotes that are closed on their line, found one "
                'that is not. Write "" for a quote in a value in quotes, or give a parquet file.'
            )
        raise DataError(
            f"{path}: line {number}: expected {len(header)} values as in the header, found "
            f"{found}. Correct the file."
        )
