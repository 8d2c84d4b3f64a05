"""A prepared data set without some users: the same rows otherwise, value by value."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.parquet import reading
from fuxictr_loopfm.prepared import columns_io
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.prepared.description import write_spec

_BLOCK_ROWS = 1 << 18
_PREPARE_AGAIN = (
    "Delete the user from the raw log and prepare it again, with periods that the other users "
    "fill; then delete the artifacts of this data set."
)


def rows_of_users(prepared: PreparedDataset, users: Collection[str]) -> NDArray[np.int64]:
    """Rows (G,) of the log that are theirs, ascending.

    Args:
        prepared: the data set.
        users: values of its user column, as text; an integer column is read as its digits.

    Raises:
        DataError: the file cannot be read.
    """
    name = prepared.spec.user
    wanted = pa.array(sorted(users), pa.string())
    found, start = [], 0
    for batch in _blocks(prepared, [name]):
        mask = pc.is_in(pc.cast(batch.column(0), pa.string()), value_set=wanted)
        found.append(start + np.flatnonzero(mask.to_numpy(zero_copy_only=False)))
        start += batch.num_rows
    return np.concatenate(found).astype(np.int64)


def write_without(
    prepared: PreparedDataset, gone: NDArray[np.int64], users: Collection[str], folder: Path
) -> PreparedDataset:
    """Write the data set without some rows, block by block.

    The events are numbered anew. Of the sequences only those tokens stay that an event left reads,
    and of a sequence of users none that is one of ``users``.

    Args:
        prepared: the data set.
        gone: (G,) ascending rows of the log.
        users: whose rows they are.
        folder: an empty one; :meth:`PreparedDataset.load` opens it.

    Raises:
        DataError: nothing is left, or a period without both labels.
    """
    left = np.ones(prepared.spec.rows, bool)
    left[gone] = False
    if not left.any():
        raise DataError(
            f"{prepared.folder}: expected events of other users, found none. A data set cannot be "
            "empty: delete the folder and its artifacts."
        )
    _write_events(prepared, left, folder / columns_io.EVENTS_FILE)
    if prepared.spec.sequences:
        columns_io.write_sequences(
            folder / columns_io.SEQUENCES_FILE,
            {
                sequence.name: _sequence_without(
                    prepared.sequence(sequence.name),
                    left,
                    users if sequence.of == prepared.spec.user else (),
                )
                for sequence in prepared.spec.sequences
            },
        )
    spec = write_spec(folder, prepared.spec, int(left.sum()))
    for path in sorted(prepared.folder.iterdir()):
        # What lies beside the log, such as embeddings of items, was not made of its rows.
        if path.is_file() and path.name not in {*spec.files, columns_io.SPEC_FILE}:
            shutil.copyfile(path, folder / path.name)
    return PreparedDataset(folder, spec)


def _write_events(prepared: PreparedDataset, left: NDArray[np.bool_], path: Path) -> None:
    periods, labels = [], []
    start = written = 0
    schema = pq.read_schema(prepared.folder / columns_io.EVENTS_FILE).remove_metadata()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _blocks(prepared, schema.names):
            kept = batch.filter(pa.array(left[start : start + batch.num_rows]))
            start += batch.num_rows
            numbers = pa.array(np.arange(written, written + kept.num_rows, dtype=np.int64))
            columns = [
                numbers if name == "event_id" else kept.column(name) for name in schema.names
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            written += kept.num_rows
            periods.append(kept.column("period").to_numpy())
            labels.append(kept.column(prepared.spec.label).to_numpy())
    try:
        columns_io.check_periods(
            np.concatenate(periods), np.concatenate(labels), prepared.spec.periods.count
        )
    except DataError as error:
        raise DataError(f"{prepared.folder}: without these users {error}. {_PREPARE_AGAIN}") from (
            error
        )


def _blocks(prepared: PreparedDataset, columns: list[str]) -> Iterator[pa.RecordBatch]:
    path = prepared.folder / columns_io.EVENTS_FILE
    with reading(path), pq.ParquetFile(path) as file:
        yield from file.iter_batches(_BLOCK_ROWS, columns=columns)


def _sequence_without(
    sequence: columns_io.SequenceArrays, left: NDArray[np.bool_], users: Collection[str]
) -> columns_io.SequenceArrays:
    """The tokens that events left read; their windows are moved to where those are now."""
    values, end, length = sequence
    end, length = end[left], length[left].astype(np.int64)
    # One more reader from the first token of a window on, one less from its end on.
    readers = np.zeros(len(values) + 1, np.int64)
    np.add.at(readers, end - length, 1)
    np.subtract.at(readers, end, 1)
    kept = np.cumsum(readers)[:-1] > 0
    del readers
    if users:
        kept &= ~np.isin(values, np.char.encode(np.array(sorted(users)), "utf-8"))
    before = np.concatenate([[0], np.cumsum(kept)])
    return values[kept], before[end], (before[end] - before[end - length]).astype(np.uint16)
