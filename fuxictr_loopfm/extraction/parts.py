"""Cuts an inference pass into parts: a killed pass loses one at most and is resumed at the next.

A part ends where a batch ends. So a batch holds the same rows whoever runs it and wherever a pass
was taken up again, and sums of floating-point numbers come out the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from fuxictr_loopfm.extraction.extractor import EmbeddingBatch
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.part_record import PartRecord

# A minute or two of a DMIN teacher on one core, 70 MB of float32 embeddings of width 32.
PART_ROWS = 1 << 19


@dataclass(frozen=True)
class Part:
    """Rows [start, stop) of one period, counted from the period's first event."""

    period: int
    index: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Its file; names sort like events."""
        return f"period-{self.period:04d}-{self.index:04d}"

    def meta(self, compressor: str) -> dict[str, str | list[int]]:
        """What determines its content, given the prepared data."""
        return {"compressor": compressor, "rows": [self.start, self.stop]}


def plan_parts(
    periods: Mapping[int, int], batch_size: int, part_rows: int = PART_ROWS
) -> list[Part]:
    """Cut periods into parts of whole batches, at most ``part_rows`` rows or else one batch each.

    Args:
        periods: rows by period, in the order of the log.
        batch_size: B of the pass, rows; a period's last batch may be smaller.
        part_rows: what a part may hold.

    Returns:
        The parts of all periods, in the order of the log.
    """
    step = max(part_rows // batch_size, 1) * batch_size
    parts = []
    for period, rows in periods.items():
        for index, start in enumerate(range(0, rows, step)):
            parts.append(Part(period, index, start, min(start + step, rows)))
    return parts


def share_of(parts: Sequence[Part], number: int, count: int) -> list[Part]:
    """Share ``number`` (1 to ``count``) of the parts: consecutive ones, so that little is read."""
    first = len(parts) * (number - 1) // count
    last = len(parts) * number // count
    return list(parts[first:last])


def consecutive(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """The parts in their order, in runs that one pass over the rows of a period can fill."""
    run: list[Part] = []
    for part in parts:
        if run and (run[-1].period, run[-1].stop) != (part.period, part.start):
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def write_parts(
    folder: Path,
    parts: Sequence[Part],
    batches: Iterator[EmbeddingBatch],
    *,
    batch_size: int,
    compressor: str,
) -> list[PartRecord]:
    """Write each part as soon as its last batch has come.

    Args:
        folder: the extraction folder.
        parts: consecutive parts.
        batches: results for exactly their rows, in order.
        batch_size: B with which the parts were planned.
        compressor: fingerprint of teacher and compressor.

    Returns:
        The record of each part's file.

    Raises:
        DataError, StoreError: as ``ExtractionLog.write_part``.
    """
    records = []
    for part in parts:
        num_batches = -(-(part.stop - part.start) // batch_size)  # rounded up
        results = islice(batches, num_batches)
        event_id, embedding, logit = map(np.concatenate, zip(*results, strict=True))
        meta = part.meta(compressor)
        records.append(
            ExtractionLog.write_part(folder, part.name, event_id, embedding, logit, meta)
        )
    return records
