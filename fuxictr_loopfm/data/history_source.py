"""Batches of histories: pointers into the event store, gathered and decoded on demand."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch

from fuxictr_loopfm.compression.codec import Codec
from fuxictr_loopfm.errors import ConfigError, DataError, ProvenanceError
from fuxictr_loopfm.layers.history import HistoryBatch
from fuxictr_loopfm.spec import UNITS_PER_SECOND, SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.gather import history_index, take_rows
from fuxictr_loopfm.store.pointers import Pointers

COLUMNS = ("embedding", "label", "log_age", "ids", "length")
LABEL_COLUMN = "label"


class HistorySource:
    """The histories of S consecutive events of the log, from one event store.

    Args:
        store: the events; codes stay packed in memory and are decoded per batch.
        pointers: (end, length) of the S samples.
        codec: decodes the store's codes; may be None without the column ``embedding``.
        sample_time: (S,) int64 timestamps of the samples, in the store's time unit.
        spec: the rule. ``max_len`` may be shorter than the pointers', ``label_delay`` may differ.
        columns: what a batch holds: any of ``embedding``, ``label``, ``log_age`` and ``ids``.
        ids: encoded column (N,) by event_id per name; used with the column ``ids``.
        first_event: event_id of the first sample.
        prefix_dim: deliver only the first dimensions of each embedding (a Matryoshka prefix).

    Raises:
        ConfigError: unknown columns, or a rule that the pointers do not follow.
        ProvenanceError: the pointers belong to another store.
        DataError: arrays that do not fit the pointers or the store.
    """

    def __init__(
        self,
        store: EventStore,
        pointers: Pointers,
        codec: Codec | None,
        *,
        sample_time: np.ndarray,
        spec: SequenceSpec,
        columns: Collection[str] = ("embedding",),
        ids: Mapping[str, np.ndarray] | None = None,
        first_event: int = 0,
        prefix_dim: int | None = None,
    ) -> None:
        _check_pointers(store, pointers, spec)
        if len(sample_time) != len(pointers.end):
            raise DataError(
                f"history of {store.folder}: sample_time: expected {len(pointers.end)} samples as "
                f"in the pointers, found {len(sample_time)}"
            )
        _check_columns(store, columns, codec)
        self.store = store
        self.pointers = pointers
        self.sample_time = sample_time
        self.spec = spec
        self.columns = tuple(columns)
        self.first_event = first_event
        self.prefix_dim = prefix_dim
        self._codec = codec if "embedding" in columns else None
        self._label = None
        if "label" in columns:
            self._label = store.side[LABEL_COLUMN].astype(np.int8) + np.int8(1)
        wanted = dict(ids or {}) if "ids" in columns else {}
        self._ids = {name: _in_store_order(store, name, wanted[name]) for name in wanted}

    def __len__(self) -> int:
        return len(self.pointers.end)

    def batch(self, rows: np.ndarray) -> HistoryBatch:
        """Histories of B samples, left-padded to the longest among them, in fresh tensors.

        Args:
            rows: (B,) event_ids of the samples.

        Raises:
            DataError: an event has no pointer here.
        """
        samples = rows.astype(np.int64) - self.first_event
        if len(samples) and not 0 <= samples.min() <= samples.max() < len(self):
            raise DataError(
                f"history of {self.store.folder}: expected events {self.first_event} to "
                f"{self.first_event + len(self) - 1}, found {rows.min()} to {rows.max()}. "
                "Build pointers for the rows that the loader reads."
            )
        length = self.pointers.length[samples]
        # Left-padded and read from the newest event, a history does not change with L, so a batch
        # is only as wide as its longest one: attention over padding is most of a training step.
        widest = min(self.spec.max_len, max(int(length.max(initial=1)), 1))
        index, mask = history_index(self.pointers.end[samples], length, widest)
        batch = HistoryBatch(mask=torch.from_numpy(mask))
        if self._codec is not None:
            codes = np.asarray(take_rows(self.store.codes, index))
            decoded = self._codec.decode(codes)[..., : self.prefix_dim]
            batch.embedding = torch.from_numpy(np.ascontiguousarray(decoded))
        if "label" in self.columns or "log_age" in self.columns:
            past = take_rows(self.store.timestamp, index)
            age = np.where(mask, self.sample_time[samples][:, None] - past, 0)
            self._add_time_columns(batch, index, age)
        for name, codes in self._ids.items():
            batch.ids[name] = torch.from_numpy(take_rows(codes, index).astype(np.int64))
        return batch

    def _add_time_columns(self, batch: HistoryBatch, index: np.ndarray, age: np.ndarray) -> None:
        """Fill label and log_age from the events' ages (B, L), 0 at padding."""
        if self._label is not None:
            # Padding has age 0 and is never known.
            known = age > self.spec.label_delay
            label = np.where(known, take_rows(self._label, index), 0)
            batch.label = torch.from_numpy(label.astype(np.int64))
        if "log_age" in self.columns:
            seconds = age / UNITS_PER_SECOND[self.store.manifest.time_unit]
            batch.log_age = torch.from_numpy(np.log1p(seconds).astype(np.float32))


def _check_pointers(store: EventStore, pointers: Pointers, spec: SequenceSpec) -> None:
    if pointers.store_fingerprint != store.manifest.fingerprint:
        raise ProvenanceError(
            f"{store.folder}: expected pointers into this store "
            f"({store.manifest.fingerprint}), found pointers into {pointers.store_fingerprint}. "
            "Rebuild the pointers."
        )
    made = pointers.spec
    problems = [
        f"history of {store.folder}: {name}: expected {getattr(made, name)} as in the pointers, "
        f"found {getattr(spec, name)}. Build pointers for this rule."
        for name in ("delay", "window")
        if getattr(made, name) != getattr(spec, name)
    ]
    if spec.max_len > made.max_len:
        problems.append(
            f"history of {store.folder}: max_len: expected at most {made.max_len} as in the "
            f"pointers, found {spec.max_len}. Build longer pointers."
        )
    if problems:
        raise ConfigError(problems)


def _check_columns(store: EventStore, columns: Collection[str], codec: Codec | None) -> None:
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise ConfigError(f"history columns: expected any of {COLUMNS}, found {unknown}")
    if "embedding" in columns and (codec is None or codec.width == 0):
        raise ConfigError(
            f"history of {store.folder}: column embedding: expected a codec that keeps embeddings, "
            f"found {None if codec is None else codec.kind}. Leave embedding out of the history."
        )
    if "label" in columns and LABEL_COLUMN not in store.side:
        raise ConfigError(
            f"history of {store.folder}: column label: expected a side column {LABEL_COLUMN!r} in "
            f"the store, found {sorted(store.side)}"
        )


def _in_store_order(store: EventStore, name: str, column: np.ndarray) -> np.ndarray:
    """A column (N,) by event_id as (n+1,) by store row, 0 at the pad row."""
    needed = int(store.src_row.max(initial=-1)) + 1
    if column.ndim != 1 or len(column) < needed:
        raise DataError(
            f"history of {store.folder}: ids {name}: expected one id per event of the log, "
            f"{needed} or more, found shape {column.shape}"
        )
    ordered = column[store.src_row]
    ordered[0] = 0
    return ordered
