"""The loader that FuxiCTR's ``RankDataLoader`` is given: encoded columns, histories, logits.

Columns live in memory as numpy arrays; a batch is a handful of gathers done one or two batches
ahead by a thread. FuxiCTR's own parquet loader starts Ray and does not keep the order of parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from fuxictr_loopfm.data.column_rules import HISTORY_TYPE
from fuxictr_loopfm.data.columns import EVENT_ID
from fuxictr_loopfm.data.prefetch import prefetched
from fuxictr_loopfm.data.ragged import Padding, padded_rows
from fuxictr_loopfm.data.tables import column_names, parquet_parts, read_column, row_count
from fuxictr_loopfm.data.view import EncodedView
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.layers.batch import HistoryBatch, PaddedHistory

TEACHER_LOGIT = "teacher_logit"
TEACHER_EMBEDDING = "teacher_embedding"
TEACHER_COLUMNS = (TEACHER_LOGIT, TEACHER_EMBEDDING)
# Batch normalisation cannot train on one row.
MIN_SHARE = 2

Histories = HistoryBatch | PaddedHistory
Batch = dict[str, torch.Tensor | Histories]


class FeatureMapLike(Protocol):
    """What the loader reads of FuxiCTR's ``FeatureMap``."""

    features: Mapping[str, Mapping[str, Any]]
    labels: list[str]


class BatchSource(Protocol):
    """Anything that delivers the histories of a batch of samples."""

    def batch(self, rows: np.ndarray) -> Histories:
        """Histories of the samples with event_ids ``rows`` (B,)."""


@dataclass(frozen=True)
class _Column:
    """A column in memory, and the dtype in which batches carry it."""

    values: np.ndarray
    dtype: np.dtype[Any]

    def batch(self, rows: np.ndarray | slice) -> torch.Tensor:
        return torch.from_numpy(self.values[rows].astype(self.dtype))


@dataclass(frozen=True)
class _RaggedColumn:
    """A prepared sequence: codes behind one pad entry, windows of the loader's rows."""

    padded_codes: np.ndarray
    end: np.ndarray
    length: np.ndarray
    max_len: int
    padding: Padding

    def batch(self, rows: np.ndarray | slice) -> torch.Tensor:
        codes = padded_rows(
            self.padded_codes, self.end[rows], self.length[rows], self.max_len, self.padding
        )
        return torch.from_numpy(codes.astype(np.int64))


class LoopFMDataLoader:
    """Iterates over an encoded split; pass the class as ``params["data_loader"]``.

    A batch maps every feature and label of the feature map to a tensor: ids (B,) int64, numbers
    (B,) float32, sequences (B, max_len) int64, labels as stored; a ``loopfm_sequence`` feature to a
    ``HistoryBatch``; ``teacher_logit`` to (B,) float32, NaN where nothing was logged. Tensors are
    never reused. The last batch may be smaller.

    Args:
        feature_map: FuxiCTR's feature map.
        data_path: parquet file of a split, or a folder of parts that are read in name order.
        split: FuxiCTR's name of the split; not needed here.
        batch_size: B.
        shuffle: a new order in every epoch, determined by ``seed`` and the epoch alone.
        loopfm_histories: a source per ``loopfm_sequence`` feature.
        loopfm_teacher_logit: (N,) float32 by event_id.
        loopfm_teacher_embedding: (N, d) float32 by event_id, NaN where nothing was logged.
        loopfm_rows: rows of the file to use, with start and stop; default all.
        loopfm_share: (i, n) delivers the i-th of n parts of every batch; n loaders with i from 0 to
            n - 1 deliver every row once, but for batches too short to divide, which all deliver.
        seed: of the shuffling.
        **kwargs: FuxiCTR passes all its params; they are ignored.

    Attributes:
        num_samples, num_blocks, num_batches: what FuxiCTR logs.
        epoch: how many iterations were started.
        share: as given.

    Raises:
        ConfigError: histories or logits that do not fit the feature map, or impossible sizes.
        DataError: missing files or columns.
    """

    num_blocks = 1

    def __init__(
        self,
        feature_map: FeatureMapLike,
        data_path: Path | str,
        split: str = "train",
        batch_size: int = 32,
        shuffle: bool = False,
        loopfm_histories: Mapping[str, BatchSource] | None = None,
        loopfm_teacher_logit: np.ndarray | None = None,
        loopfm_teacher_embedding: np.ndarray | None = None,
        loopfm_rows: slice | None = None,
        loopfm_share: tuple[int, int] = (0, 1),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.batch_size = int(batch_size)
        if self.batch_size < 1:
            raise ConfigError(f"batch_size: expected 1 or more, found {batch_size}")
        self.shuffle = shuffle
        self.seed = seed
        self.share = loopfm_share
        self.epoch = 0
        self._histories = dict(loopfm_histories or {})
        self._parts = parquet_parts(data_path)
        self._names = column_names(self._parts)
        self._window = _window(self._parts, loopfm_rows)
        self.num_samples = self._window.stop - self._window.start
        self.num_batches = -(-self.num_samples // self.batch_size)
        teacher = {TEACHER_LOGIT: loopfm_teacher_logit, TEACHER_EMBEDDING: loopfm_teacher_embedding}
        _check_given(feature_map, self._histories, teacher)
        self._event_id = self._read(EVENT_ID) if EVENT_ID in self._names else None
        self._columns = self._load(feature_map)
        for name, values in teacher.items():
            if values is not None:
                known = _by_event(values, self._events(name))
                self._columns[name] = _Column(known, np.dtype(np.float32))
        if self._histories:
            self._events(next(iter(self._histories)))

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        order = None
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_samples)
        self.epoch += 1
        return prefetched(self._batches(order))

    def example(self) -> Batch:
        """The first batch in file order; unlike an iteration it does not begin an epoch."""
        return self._batch(self._part(0))

    def _batches(self, order: np.ndarray | None) -> Iterator[Batch]:
        for start in range(0, self.num_samples, self.batch_size):
            rows = self._part(start)
            yield self._batch(rows if order is None else order[rows])

    def _part(self, start: int) -> slice:
        """Places of this share's rows of the batch that begins at ``start``."""
        stop = min(start + self.batch_size, self.num_samples)
        (index, parts), size = self.share, stop - start
        if size < MIN_SHARE * parts:
            return slice(start, stop)
        return slice(start + size * index // parts, start + size * (index + 1) // parts)

    def own_rows(self) -> np.ndarray:
        """(M,) places in the unshuffled order of the rows that this share delivers."""
        places = np.arange(self.num_samples)
        starts = range(0, self.num_samples, self.batch_size)
        return np.concatenate([places[:0], *(places[self._part(start)] for start in starts)])

    def _batch(self, rows: np.ndarray | slice) -> Batch:
        batch: Batch = {name: column.batch(rows) for name, column in self._columns.items()}
        if self._event_id is not None:
            events = self._event_id[rows]
            for name, history in self._histories.items():
                batch[name] = history.batch(events)
        return batch

    def _load(self, feature_map: FeatureMapLike) -> dict[str, _Column | _RaggedColumn]:
        columns: dict[str, _Column | _RaggedColumn] = {}
        for name, spec in feature_map.features.items():
            if spec["type"] == HISTORY_TYPE or name in TEACHER_COLUMNS:
                continue
            if spec["type"] == "sequence" and name not in self._names:
                columns[name] = self._ragged(name, spec["max_len"])
            else:
                dtype = "float32" if spec["type"] == "numeric" else "int64"
                columns[name] = _Column(_compact(self._read(name)), np.dtype(dtype))
        for name in feature_map.labels:
            values = self._read(name)
            columns[name] = _Column(
                values, values.dtype if values.dtype.kind == "f" else np.dtype("int64")
            )
        return columns

    def _read(self, name: str) -> np.ndarray:
        return read_column(self._parts, name)[self._window]

    def _ragged(self, name: str, max_len: int) -> _RaggedColumn:
        view = EncodedView.open(self._parts[0].parent)
        sequence = view.sequence(name)
        events = self._events(name)
        return _RaggedColumn(
            padded_codes=np.concatenate([np.zeros(1, np.int32), sequence.codes]),
            end=_by_event(sequence.end, events),
            length=_by_event(sequence.length, events),
            max_len=max_len,
            padding=view.padding(name),
        )

    def _events(self, wanted_by: str) -> np.ndarray:
        if self._event_id is None:
            raise DataError(
                f"{self._parts[0]}: {wanted_by}: expected a column {EVENT_ID}, found "
                f"{self._names}. Only a view of a prepared data set has histories and logits."
            )
        return self._event_id


def _window(parts: list[Path], rows: slice | None) -> slice:
    total = row_count(parts)
    rows = rows or slice(0, total)
    if not 0 <= rows.start <= rows.stop <= total:
        raise ConfigError(
            f"{parts[0]}: loopfm_rows: expected start <= stop within 0 to {total}, "
            f"found {rows.start} to {rows.stop}"
        )
    return rows


def _check_given(
    feature_map: FeatureMapLike,
    histories: Mapping[str, BatchSource],
    teacher: Mapping[str, np.ndarray | None],
) -> None:
    wanted = {n for n, spec in feature_map.features.items() if spec["type"] == HISTORY_TYPE}
    problems = []
    if wanted != set(histories):
        problems.append(
            f"loopfm_histories: expected a source for each of {sorted(wanted)}, the "
            f"{HISTORY_TYPE} features of the feature map, found {sorted(histories)}"
        )
    problems += [
        f"loopfm_{name}: expected an array, since the feature map has {name}, found None"
        for name, values in teacher.items()
        if name in feature_map.features and values is None
    ]
    if problems:
        raise ConfigError(problems)


def _by_event(values: np.ndarray, events: np.ndarray) -> np.ndarray:
    """``values`` (N,) of the given events, as a fresh array."""
    if len(events) and events.max() >= len(values):
        raise DataError(
            f"event_id: expected values for events up to {events.max()}, found {len(values)} values"
        )
    return np.array(values[events])


def _compact(values: np.ndarray) -> np.ndarray:
    """Half the memory where ids fit into 32 bits; batches are widened again."""
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    limits = np.iinfo(np.int32)
    fits = len(values) == 0 or (limits.min <= values.min() and values.max() <= limits.max)
    return values.astype(np.int32, copy=False) if fits else values
