"""Logged events as the builder takes them: whole columns, or block by block from a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.store.keys import factorize_keys
from fuxictr_loopfm.store.schema import CODE_DTYPES, EVENT_ID_DATASET

AnyArray = np.ndarray[Any, Any]
Int64Array = NDArray[np.int64]
# The row datasets of a shard by path, (n,) each and ``codes`` (n, w), in their dtypes on disk.
Rows = dict[str, AnyArray]


@dataclass(frozen=True)
class BlockKeys:
    """The keys of n events.

    Attributes:
        distinct: (u,) int64 or fixed-length bytes, ascending.
        code: (n,) int64 position of each event's key in ``distinct``.
    """

    distinct: AnyArray
    code: Int64Array


class EventSource(Protocol):
    """Events that can be read several times, always the same ones in the same order and blocks.

    Keys and other columns are read one after the other, never both at a time, so that what comes
    of the keys can be known before the rest is read.
    """

    @property
    def num_events(self) -> int:
        """At least as many as all blocks hold together."""
        ...

    @property
    def read_bytes(self) -> int:
        """Memory per event that reading a block takes, what it returns included."""
        ...

    @property
    def block_rows(self) -> int:
        """Events per block where memory is no matter."""
        ...

    def keys(self, rows: int) -> Iterator[BlockKeys]:
        """The keys alone, in blocks of at most ``rows`` events."""
        ...

    def blocks(self, rows: int) -> Iterator[Rows]:
        """The other columns in the same blocks, of the same dtypes in all."""
        ...


def row_columns(
    num_events: int,
    timestamp: AnyArray,
    event_id: AnyArray,
    codes: AnyArray | None,
    pad_code: AnyArray,
    logit: AnyArray,
    side: Mapping[str, AnyArray],
) -> Rows:
    """The row datasets by path, in their dtypes on disk and the order they came in.

    Args:
        num_events: E, as many as there are keys.
        timestamp: (E,) integers in the log's unit.
        event_id: (E,) integers, the events' rows in the log.
        codes: (E, w) of a codec; None for a store without embeddings.
        pad_code: (w,) the row that decodes to exactly 0.
        logit: (E,) numbers.
        side: (E,) numbers, truth values or texts by name.

    Raises:
        DataError: shapes or dtypes that do not fit, or numbers that are not finite.
    """
    codes = np.empty((num_events, 0), np.uint8) if codes is None else codes
    columns = {
        "codes": codes,
        "timestamp": int64_column("timestamp", timestamp),
        EVENT_ID_DATASET: int64_column("event_id", event_id),
        "logit": np.asarray(logit, dtype=np.float32),
        **{f"side/{name}": _side_column(name, values) for name, values in side.items()},
    }
    problems = [
        f"{name}: expected {num_events} rows like the key, found {len(values)}"
        for name, values in columns.items()
        if len(values) != num_events or values.ndim != (2 if name == "codes" else 1)
    ]
    if codes.dtype.name not in CODE_DTYPES:
        problems.append(f"codes: expected dtype {', '.join(CODE_DTYPES)}, found {codes.dtype}")
    if pad_code.shape != codes.shape[1:]:
        problems.append(f"pad_code: expected shape {codes.shape[1:]}, found {pad_code.shape}")
    for name in ("codes", "logit"):
        if columns[name].dtype.kind == "f" and not np.isfinite(columns[name]).all():
            problems.append(f"{name}: expected finite numbers, found NaN or infinity")
    if problems:
        raise DataError("; ".join(problems) + ". Run the extraction again.")
    return columns


def int64_column(name: str, values: AnyArray) -> Int64Array:
    """Integers of any shape as int64; ``name`` is the column's in messages.

    Raises:
        DataError: they are none, or do not fit.
    """
    if values.dtype.kind not in "iu" or values.dtype == np.uint64:
        raise DataError(f"{name}: expected int64, found {values.dtype}. Convert the column.")
    return values.astype(np.int64, copy=False)


def _side_column(name: str, values: AnyArray) -> AnyArray:
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iuf":
        return values
    keys, codes = factorize_keys(values, f"side column {name}")
    return keys[codes]
