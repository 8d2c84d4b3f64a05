"""Prepared data sets: one row per impression in time order, ready for every stage.

A prepared data set is a folder with ``dataset.yaml`` (:class:`DatasetSpec`), ``events.parquet``
and, if it has ready-made histories, ``sequences.h5``. ``data_prep`` scripts write it with
:func:`write_prepared`; everything else reads it with :class:`PreparedDataset`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from fuxictr_loopfm.errors import DataError, OutputError, did_you_mean
from fuxictr_loopfm.files import atomic
from fuxictr_loopfm.files.parquet import reading
from fuxictr_loopfm.files.seals import file_problem
from fuxictr_loopfm.prepared import columns_io
from fuxictr_loopfm.prepared.description import read_spec, write_spec
from fuxictr_loopfm.prepared.parts import Column, Periods, SequenceColumn
from fuxictr_loopfm.prepared.spec import DatasetSpec
from fuxictr_loopfm.spec import UNITS_PER_SECOND

__all__ = [
    "Column",
    "DatasetSpec",
    "Periods",
    "PreparedDataset",
    "SequenceColumn",
    "write_prepared",
]


class PreparedDataset:
    """A prepared data set on disk; columns are read when asked for.

    Args:
        folder: where it is.
        spec: its description.
        blocks: checksums of each file's blocks; they say where a file was altered.
    """

    def __init__(
        self, folder: Path, spec: DatasetSpec, blocks: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.spec = spec
        self._blocks = dict(blocks or {})

    @classmethod
    def load(cls, folder: Path | str) -> PreparedDataset:
        """Open ``folder``; reads the description and compares the events' checksum.

        Raises:
            DataError: a file is missing or unreadable, or the description is not valid.
        """
        folder = Path(folder)
        return atomic.read_whole(folder, lambda: cls._load(folder))

    @classmethod
    def _load(cls, folder: Path) -> PreparedDataset:
        prepared = cls(folder, *read_spec(folder))
        prepared._check_files()
        return prepared

    def verify(self) -> None:
        """Compare every file with the checksum in ``dataset.yaml``.

        Raises:
            DataError: some differ; names each with the expected and the found checksum.
        """
        self._require(self.spec.files)

    def _require(self, names: Iterable[str]) -> None:
        problems = []
        for name in names:
            record = {"sha256": self.spec.files[name], "blocks": self._blocks.get(name)}
            problem = file_problem(self.folder / name, record)
            if problem:
                problems.append(f"{problem}; the file was changed, prepare the data set again")
        if problems and read_spec(self.folder)[0] != self.spec:
            raise DataError(
                f"{self.folder}: another data set took its place since it was opened; run the same "
                "command again"
            )
        if problems:
            raise DataError("\n".join(problems))

    def frame(self, columns: Iterable[str] | None = None) -> pd.DataFrame:
        """Columns of ``events.parquet`` (default: all), N rows in time order.

        Raises:
            DataError: a column does not exist or the file cannot be read.
        """
        return atomic.read_whole(self.folder, lambda: self._frame(columns))

    def _frame(self, columns: Iterable[str] | None) -> pd.DataFrame:
        self._require([columns_io.EVENTS_FILE])
        path = self.folder / columns_io.EVENTS_FILE
        wanted = None if columns is None else list(columns)
        with reading(path):
            known = pq.read_schema(path).names
            for name in wanted or ():
                if name not in known:
                    raise DataError(
                        f"{path}: no column {name!r}{did_you_mean(name, known)}; it has {known}"
                    )
            # In this thread: arrow's own wait for one another for ever if memory is too little.
            table = pq.read_table(path, columns=wanted, use_threads=False, pre_buffer=False)
            return table.to_pandas(use_threads=False)

    def array(self, column: str) -> np.ndarray:
        """One column (N,): text columns as objects, numbers in their stored dtype."""
        values: np.ndarray = self.frame([column])[column].to_numpy()
        return values

    @cached_property
    def timestamp(self) -> np.ndarray:
        """(N,) int64, non-decreasing, in ``spec.time_unit``."""
        return self.array("timestamp")

    @cached_property
    def period(self) -> np.ndarray:
        """(N,) int32, 1-based, non-decreasing."""
        return self.array("period")

    @cached_property
    def label(self) -> np.ndarray:
        """(N,) int8, 0 or 1."""
        return self.array(self.spec.label)

    def rows_of(self, periods: Iterable[int]) -> slice:
        """The contiguous rows of consecutive ``periods``.

        Raises:
            DataError: the periods are empty, not consecutive or do not exist.
        """
        wanted = [int(period) for period in periods]
        count = self.spec.periods.count
        if not wanted or wanted != list(range(wanted[0], wanted[0] + len(wanted))):
            raise DataError(f"periods: expected consecutive numbers, found {wanted}")
        if wanted[0] < 1 or wanted[-1] > count:
            raise DataError(f"periods: {self.folder} has 1 to {count}, asked for {wanted}")
        return slice(
            int(np.searchsorted(self.period, wanted[0], side="left")),
            int(np.searchsorted(self.period, wanted[-1], side="right")),
        )

    def sequence(self, name: str) -> columns_io.SequenceArrays:
        """``(values (M,) bytes, end (N,) int64, length (N,) uint16)`` of one sequence.

        The tokens of event ``i`` are ``values[end[i] - length[i] : end[i]]``, oldest first.

        Raises:
            DataError: there is no such sequence, or its file cannot be read.
        """
        known = [sequence.name for sequence in self.spec.sequences]
        if name not in known:
            raise DataError(f"{self.folder}: no sequence {name!r}; it has {known}")
        path = self.folder / columns_io.SEQUENCES_FILE

        def read() -> columns_io.SequenceArrays:
            self._require([columns_io.SEQUENCES_FILE])
            return columns_io.read_sequence(path, name)

        # Another data set may take its place between the comparison and the reading.
        return atomic.read_whole(self.folder, read)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of everything that determines the data: description and checksums."""
        described = self.spec.to_dict()
        return atomic.fingerprint({key: described[key] for key in described if key != "source"})

    def describe(self) -> str:
        """A few lines for people: rows, users, periods with their click rate, columns."""
        spec = self.spec
        size = (
            f"{spec.rows:,} events, {pd.unique(self.array(spec.user)).size:,} users, "
            f"{pd.unique(self.array(spec.item)).size:,} items"
        )
        lines = [
            f"{spec.dataset_id}: {size}, {spec.label} rate {self.label.mean():.4f}",
            f"  source: {spec.source}",
            f"  periods: {spec.period_rule}",
        ]
        lines += [f"    {line}" for line in self._period_lines()]
        for view in ("teacher", "vertical"):
            names = [column.name for column in spec.columns_of(view)]
            lines.append(f"  {view}: {len(names)} columns: {', '.join(names)}")
        for sequence in spec.sequences:
            length, tokens = self.sequence(sequence.name)[2], sequence.of or "values"
            lines.append(
                f"  {sequence.name}: newest {sequence.max_len} {tokens} before each event, "
                f"{length.mean():.1f} on average, {np.mean(length == 0):.1%} empty"
            )
        return "\n".join(lines)

    def _period_lines(self) -> list[str]:
        roles = {number: "teacher" for number in self.spec.periods.teacher_train}
        roles |= {number: "logged" for number in self.spec.periods.log}
        roles |= {number: "logged, vertical" for number in self.spec.periods.vertical_train}
        roles |= {number: "logged, test" for number in self.spec.periods.test}
        lines = []
        for number in range(1, self.spec.periods.count + 1):
            rows = self.rows_of([number])
            first = _clock(int(self.timestamp[rows.start]), self.spec.time_unit)
            lines.append(
                f"{number:>3}  from {first}  {rows.stop - rows.start:>9,} events  "
                f"{self.spec.label} rate {self.label[rows].mean():.4f}  {roles.get(number, '-')}"
            )
        return lines

    def _check_files(self) -> None:
        names = {columns_io.EVENTS_FILE}
        names |= {columns_io.SEQUENCES_FILE} if self.spec.sequences else set()
        if names != set(self.spec.files):
            raise DataError(
                f"{self.folder / columns_io.SPEC_FILE}: files: expected checksums of "
                f"{sorted(names)}, found {sorted(self.spec.files)}"
            )
        for name in sorted(names):
            if not (self.folder / name).is_file():
                raise DataError(f"{self.folder / name}: is missing; prepare the data set again")
        self._require([columns_io.EVENTS_FILE])
        path = self.folder / columns_io.EVENTS_FILE
        with reading(path, "; prepare the data set again"):
            rows = pq.read_metadata(path).num_rows
        if rows != self.spec.rows:
            raise DataError(f"{path}: expected {self.spec.rows} rows, found {rows}")


def write_prepared(
    folder: Path | str,
    spec: DatasetSpec,
    frame: pd.DataFrame,
    sequences: Mapping[str, columns_io.SequenceArrays] | None = None,
    beside: Mapping[str, Path] | None = None,
) -> PreparedDataset:
    """Check everything, then write a prepared data set; ``folder`` is whole or untouched.

    Args:
        folder: target; an earlier prepared data set there is replaced.
        spec: the description; ``rows`` and ``files`` are filled in here.
        frame: rows in time order with ``timestamp``, ``period``, label, feature and side columns.
            Other columns are not written.
        sequences: per :class:`SequenceColumn` the ``(values, end, length)`` arrays.
        beside: files to copy into the folder by their new name, for others to read.

    Raises:
        DataError: a rule is broken, or the folder cannot be written.
    """
    folder = Path(folder)
    sequences = sequences or {}
    stored = columns_io.checked_frame(spec, frame)
    columns_io.check_sequences(spec, sequences, len(stored))
    try:
        _refuse_foreign(folder)
        with atomic.atomic_dir(folder) as temporary:
            columns_io.write_events(temporary / columns_io.EVENTS_FILE, stored)
            if sequences:
                columns_io.write_sequences(temporary / columns_io.SEQUENCES_FILE, sequences)
            write_spec(temporary, spec, len(stored))
            for name, source in (beside or {}).items():
                shutil.copyfile(source, temporary / name)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written: {error.strerror or error}. Free space or give another "
            "folder, then run again."
        ) from error
    return PreparedDataset.load(folder)


def _refuse_foreign(folder: Path) -> None:
    """Replacing a folder deletes what is in it, so only a prepared data set is ever replaced."""
    ours = (folder / columns_io.SPEC_FILE).is_file()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"{folder}: exists and is no prepared data set; give a new or empty folder"
        )


def _clock(timestamp: int, unit: str) -> str:
    if unit == "ordinal":
        return str(timestamp)
    seconds = timestamp / UNITS_PER_SECOND[unit]
    return f"{pd.Timestamp(seconds, unit='s', tz='UTC'):%Y-%m-%d %H:%M UTC}"
