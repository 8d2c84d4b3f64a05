"""A raw log of several files, whose rows can be told by their file and their place in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from _tables import read_exact, read_header, require_columns
from _text_files import line_of_row
from _values import category, is_time, joined, missing, numbers, without_texts

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.parts import short


@dataclass(frozen=True)
class LogFile:
    """The rows of one file that are still in the log.

    Attributes:
        path: the file.
        table: the columns, each with one exact type, see ``read_exact``.
        row: (n,) int64, the place of each row among the data rows of the file, from 0.
    """

    path: Path
    table: pa.Table
    row: np.ndarray


@dataclass(frozen=True)
class RawLog:
    """Rows in the order of their files. Columns may have another type in each file.

    Attributes:
        files: F files.
        quoting: how quotes are meant in text files, see ``read_text``.
    """

    files: tuple[LogFile, ...]
    quoting: str = "standard"

    @classmethod
    def read(
        cls,
        paths: Sequence[Path],
        columns: Sequence[str],
        names: Sequence[str],
        missing_values: Sequence[str] = (),
        quoting: str = "standard",
    ) -> RawLog:
        """Read ``columns`` of every file and call them ``names``.

        Args:
            paths: the files.
            columns: as the files call them.
            names: as the log is to call them.
            missing_values: texts that stand for no value; they become null.
            quoting: how quotes are meant in text files, see ``read_text``.

        Raises:
            DataError: a file is missing, unreadable or lacks a column.
        """
        for path in paths:
            require_columns(path, read_header(path, quoting), columns)
        files = []
        for path in paths:
            table = read_exact(path, list(dict.fromkeys(columns)), quoting)
            table = table.select(list(columns)).rename_columns(list(names))
            values = [without_texts(column, missing_values) for column in table.columns]
            table = pa.table(values, names=list(names))
            files.append(LogFile(path, table, np.arange(table.num_rows)))
        return cls(tuple(files), quoting)

    def __len__(self) -> int:
        return sum(len(file.row) for file in self.files)

    def column(self, name: str) -> list[pa.ChunkedArray]:
        """One column, file by file."""
        return [file.table.column(name) for file in self.files]

    def kept(self, mask: np.ndarray) -> RawLog:
        """The rows where ``mask`` (N,) bool is true."""
        if mask.all():
            return self
        files, start = [], 0
        for file in self.files:
            part = mask[start : start + len(file.row)]
            start += len(part)
            files.append(LogFile(file.path, file.table.filter(pa.array(part)), file.row[part]))
        return RawLog(tuple(files), self.quoting)

    def missing(self, name: str) -> np.ndarray:
        """Where (N,) bool a column has no value."""
        return np.concatenate([missing(column) for column in self.column(name)])

    def numbers(
        self, name: str, where: str, *, optional: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Exact numbers (N,) of a column, see ``joined``, and where (N,) bool it has none.

        Raises:
            DataError: a value is no number, or is missing unless ``optional``; ``where`` names the
                column.
        """
        parts = [numbers(column) for column in self.column(name)]
        wrong = np.concatenate([part.wrong for part in parts])
        if not optional:
            wrong |= np.concatenate([part.missing for part in parts])
        self.refuse(name, wrong, f"{where}: expected numbers")
        absent = np.concatenate([part.missing for part in parts])
        return joined([part.values for part in parts]), absent

    def categories(self, name: str) -> pa.Array:
        """A column as text (N,) ``large_string``, see ``category``.

        Raises:
            DataError: whole numbers in floats too large to be exact, or true and false in one file
                and something else in another.
        """
        columns = [c for c in self.column(name) if not pa.types.is_null(c.type)]
        kinds = {str(c.type) for c in columns if pa.types.is_boolean(c.type) or is_time(c.type)}
        if kinds and len({str(column.type) for column in columns}) > 1:
            found = ", ".join(f"{f.table.schema.field(name).type} in {f.path}" for f in self.files)
            raise DataError(f"log: {name}: expected one type in all files, found {found}")
        parts = [category(column) for column in self.column(name)]
        wrong = np.concatenate([part.wrong for part in parts])
        expected = "whole numbers in floats to be exact (below 2^53, in float32 below 2^24)"
        self.refuse(
            name, wrong, f"log: {name}: expected {expected}; store them as integers or text"
        )
        return pa.concat_arrays([part.values for part in parts])

    def refuse(self, name: str, wrong: np.ndarray, message: str) -> None:
        """Raise DataError that shows the first value where ``wrong`` (N,) bool, if there is one."""
        if wrong.any():
            first = int(np.argmax(wrong))
            raise DataError(
                f"{message}, found {short(self.value(name, first))} in {self.place(first, wrong)}"
            )

    def value(self, name: str, row: int) -> Any:
        """The value of a column in row ``row`` of the log, as a Python object."""
        file, at = self._find(row)
        return file.table.column(name)[at].as_py()

    def place(self, row: int, such: np.ndarray | None = None) -> str:
        """Where row ``row`` of the log is in its file; and how many rows (N,) bool are ``such``."""
        file, at = self._find(row)
        number = int(file.row[at]) + 1
        counted = "" if such is None else f" ({int(such.sum())} such rows)"
        if file.path.suffix.lower() in (".parquet", ".pq"):
            return f"data row {number}{counted} of {file.path}"
        line = line_of_row(file.path, number, self.quoting)
        return f"data row {number}{counted}, line {line} of {file.path}"

    def counts(self, mask: np.ndarray) -> str:
        """How many rows of which files, for a message: ``3 of 10 rows of a.csv, ...``."""
        told, start = [], 0
        for file in self.files:
            number = int(mask[start : start + len(file.row)].sum())
            start += len(file.row)
            if number:
                told.append(f"{number:,} of {len(file.row):,} rows of {file.path}")
        more = f" and {len(told) - 5} more files" * (len(told) > 5)
        return ", ".join(told[:5]) + more

    def _find(self, row: int) -> tuple[LogFile, int]:
        for file in self.files:
            if row < len(file.row):
                return file, row
            row -= len(file.row)
        raise IndexError(row)
