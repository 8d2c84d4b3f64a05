"""The logged events of a prepared data set, block by block, as the structuring stage reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuxictr_loopfm.compression.quantizer import codec_from_dict
from fuxictr_loopfm.errors import DataError, did_you_mean
from fuxictr_loopfm.files.parquet import reading
from fuxictr_loopfm.prepared.columns_io import EVENTS_FILE
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store.extraction_reader import ExtractionReader
from fuxictr_loopfm.store.keys import factorize_keys
from fuxictr_loopfm.structuring.blocks import BlockKeys, Rows, row_columns
from fuxictr_loopfm.structuring.event_filter import parse_filter

_BLOCK_ROWS = 1 << 18
# What a text value and the columns of numbers take while a block is read.
_TEXT_BYTES, _NUMBER_BYTES = 64, 64


@dataclass(frozen=True)
class LoggedEvents:
    """An event source over files, so that it can be sent to workers.

    Attributes:
        prepared: folder of the prepared data set.
        label: name of its label column.
        key: column that groups events.
        periods: logged ones.
        event_filter: which events enter; None is all.
        extraction: the extraction log, or None for a store without embeddings.
        codec: how embeddings are stored, as a fitted codec describes itself.
        num_events: after the filter, see :func:`count_events`.
    """

    prepared: Path
    label: str
    key: str
    periods: tuple[int, ...]
    event_filter: str | None
    extraction: Path | None
    codec: dict[str, Any]
    num_events: int = 0

    @property
    def block_rows(self) -> int:
        """Events per block where memory is no matter."""
        return _BLOCK_ROWS

    @property
    def read_bytes(self) -> int:
        """A block's text, its numbers, and embeddings before and after quantising."""
        return _TEXT_BYTES + _NUMBER_BYTES + 3 * 4 * int(self.codec["dim"])

    def keys(self, rows: int) -> Iterator[BlockKeys]:
        """The keys alone, in blocks of at most ``rows`` events."""
        for _, table in self.tables([self.key], rows):
            yield _block_keys(table, self.key)

    def blocks(self, rows: int) -> Iterator[Rows]:
        """The other columns in the same blocks."""
        codec = codec_from_dict(self.codec)
        with ExitStack() as stack:
            reader = None
            if self.extraction is not None:
                reader = stack.enter_context(ExtractionReader(self.extraction))
            for event_id, table in self.tables(["timestamp", self.label], rows):
                codes = None
                # A store of raw events has no teacher; its format still has the column.
                logit = np.zeros(len(event_id), np.float32)
                if reader is not None:
                    embedding, logit = reader.take(event_id)
                    codes = codec.encode(embedding)
                label = table.column(self.label).to_numpy().astype(np.int8)
                yield row_columns(
                    len(event_id),
                    table.column("timestamp").to_numpy(),
                    event_id,
                    codes,
                    codec.pad_code,
                    logit,
                    {"label": label},
                )

    def tables(self, columns: list[str], rows: int) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """Rows of the log that are logged and pass the filter, and some of their columns.

        Args:
            columns: names of columns of the prepared data set.
            rows: of the log that are read at a time.

        Yields:
            event_id (n,) int64, and a table of the columns with as many rows.

        Raises:
            DataError: a column does not exist, or the file was altered or cannot be read.
        """
        PreparedDataset.load(self.prepared)  # compares its checksum
        path, passes = self.prepared / EVENTS_FILE, None
        wanted = [*columns, "period"]
        if self.event_filter is not None:
            filtered, passes = parse_filter(self.event_filter, self.label)
            wanted.append(filtered)
        with reading(path), pq.ParquetFile(path) as file:
            known = file.schema_arrow.names
            for name in wanted:
                if name not in known:
                    near = did_you_mean(name, known)
                    raise DataError(f"{path}: no column {name!r}{near}; it has {known}")
            start = 0
            batches = file.iter_batches(rows, columns=list(dict.fromkeys(wanted)))
            for batch in batches:
                table = pa.Table.from_batches([batch])
                mask = np.isin(table.column("period").to_numpy(), self.periods)
                if passes is not None:
                    mask &= passes(table.column(filtered).to_pandas().to_numpy())
                event_id = start + np.flatnonzero(mask)
                start += len(mask)
                if len(event_id):
                    yield event_id, table if mask.all() else table.filter(pa.array(mask))


def count_events(source: LoggedEvents) -> tuple[int, list[int]]:
    """Number of events after the filter, and the periods they are from."""
    count, periods = 0, set()
    for event_id, table in source.tables(["period"], _BLOCK_ROWS):
        count += len(event_id)
        periods |= set(np.unique(table.column("period").to_numpy()).tolist())
    return count, sorted(periods)


def _block_keys(table: pa.Table, name: str) -> BlockKeys:
    """Text is made an array of Python objects once per distinct key, not once per event."""
    column = table.column(name).combine_chunks()
    if not pa.types.is_string(column.type):
        return BlockKeys(*factorize_keys(column.to_pandas().to_numpy(), name))
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    encoded = column.dictionary_encode()
    distinct, place = factorize_keys(encoded.dictionary.to_numpy(zero_copy_only=False), name)
    return BlockKeys(distinct, place[encoded.indices.to_numpy()])
