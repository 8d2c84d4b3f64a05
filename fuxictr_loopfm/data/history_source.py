"""Batches of histories: pointers into the event store, gathered and decoded on demand."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from fuxictr_loopfm.compression.codec import Codec
from fuxictr_loopfm.errors import ConfigError, DataError, ProvenanceError
from fuxictr_loopfm.layers.batch import HistoryBatch, PackedEmbedding, PaddedHistory
from fuxictr_loopfm.layers.spans import Spans
from fuxictr_loopfm.spec import UNITS_PER_SECOND, SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.gather import history_index, shared_runs, take_rows, window_rows
from fuxictr_loopfm.store.pointers import Pointers

COLUMNS = ("embedding", "label", "log_age", "ids", "length")
DELIVERIES = ("ragged", "padded", "packed")
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
        delivery: ``ragged``, decoded embeddings end to end; ``packed``, the same as codes that the
            model decodes; ``padded``, (B, L, d) for tools that know no other form.
        share: let samples whose windows begin at the same event share its rows, where no column
            depends on the sample. Pays where an encoder works event by event.

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
        delivery: str = "ragged",
        share: bool = False,
    ) -> None:
        if delivery not in DELIVERIES:
            raise ConfigError(
                f"history: delivery: expected one of {DELIVERIES}, found {delivery!r}"
            )
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
        self.delivery = delivery
        # Strictly past events have an age above 0: without a delay every label is known.
        self._labels_by_age = "label" in columns and spec.label_delay > 0
        self._needs_age = self._labels_by_age or "log_age" in columns
        self._share = share and not self._needs_age
        self._codec = codec if "embedding" in columns else None
        width = 0 if self._codec is None else self._codec.dim
        self._dim = min(width, prefix_dim or width)
        packed_as = self._codec.packed_as if self._codec and delivery == "packed" else None
        self._packs = packed_as is not None
        self._table = _code_table(self._codec) if self._codec and packed_as == "bytes" else None
        # A signed code indexes the table by its bits.
        self._packed_dtype = np.dtype(np.uint8) if packed_as == "bytes" else store.codes.dtype
        self._label = None
        if "label" in columns:
            self._label = store.side[LABEL_COLUMN].astype(np.int8) + np.int8(1)
        wanted = dict(ids or {}) if "ids" in columns else {}
        self._ids = {name: _in_store_order(store, name, wanted[name]) for name in wanted}

    def __len__(self) -> int:
        return len(self.pointers.end)

    def forget_labels_from(self, event: int) -> None:
        """From now on the label of this and every later event of the log reads "unknown".

        For metrics that compare the samples of a period with each other: a sample would else carry
        the labels of those that it is compared with.
        """
        if self._label is not None:
            self._label = np.where(self.store.event_id < event, self._label, np.int8(0))

    def batch(self, rows: np.ndarray) -> HistoryBatch | PaddedHistory:
        """Histories of B samples in fresh tensors.

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
        end, available = self.pointers.end[samples], self.pointers.length[samples]
        if self.delivery == "padded":
            return self._padded(samples, end, available)
        length = np.minimum(available, self.spec.max_len).astype(np.int64)
        start = end.astype(np.int64) - length
        if self._share:
            run_start, run_length, place = shared_runs(start, length)
        else:
            run_start, run_length, place = start, length, np.cumsum(length) - length
        events = window_rows(run_start, run_length)
        runs = torch.from_numpy(run_length)
        spans = Spans(
            torch.from_numpy(place), torch.from_numpy(length), runs, is_shared=self._share
        )
        batch = HistoryBatch(spans, ids=self._ids_at(events))
        if self._codec is not None:
            batch.embedding = self._embedding_at(events)
        if self._needs_age:
            self._add_time_columns(batch, events, np.repeat(self.sample_time[samples], length))
        elif self._label is not None:
            batch.label = torch.from_numpy(take_rows(self._label, events).astype(np.int64))
        return batch

    def _padded(
        self, samples: NDArray[np.int64], end: np.ndarray, available: np.ndarray
    ) -> PaddedHistory:
        """Left-padded histories, as wide as the longest of the batch."""
        widest = min(self.spec.max_len, max(int(available.max(initial=1)), 1))
        index, mask = history_index(end, available, widest)
        batch = PaddedHistory(mask=torch.from_numpy(mask), ids=self._ids_at(index))
        if self._codec is not None:
            batch.embedding = self._decoded_at(index)
        if self._label is not None or "log_age" in self.columns:
            # Row 0 is of no time; at padding the sample's own gives age 0, which is never known.
            now = self.sample_time[samples][:, None]
            self._add_time_columns(batch, index, np.broadcast_to(now, index.shape), mask)
        return batch

    def _ids_at(self, events: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        return {
            name: torch.from_numpy(take_rows(codes, events).astype(np.int64))
            for name, codes in self._ids.items()
        }

    def _embedding_at(self, events: NDArray[np.int64]) -> torch.Tensor | PackedEmbedding:
        if self._packs:
            codes = torch.from_numpy(
                np.asarray(take_rows(self.store.codes, events).view(self._packed_dtype))
            )
            return PackedEmbedding(codes, self._table, self._dim)
        return self._decoded_at(events)

    def _decoded_at(self, events: NDArray[np.int64]) -> torch.Tensor:
        assert self._codec is not None
        decoded = self._codec.decode(np.asarray(take_rows(self.store.codes, events)))
        return torch.from_numpy(np.ascontiguousarray(decoded[..., : self._dim]))

    def _add_time_columns(
        self,
        batch: HistoryBatch | PaddedHistory,
        events: NDArray[np.int64],
        now: np.ndarray,
        mask: NDArray[np.bool_] | bool = True,
    ) -> None:
        """Fill label and log_age of the store rows ``events`` seen at the times ``now``."""
        # Past events are older than the sample, by up to 2**64 units: the sign bit is a digit.
        age = np.where(mask, now - take_rows(self.store.timestamp, events), 0).view(np.uint64)
        if self._label is not None:
            label = np.where(
                age > np.uint64(self.spec.label_delay), take_rows(self._label, events), 0
            )
            batch.label = torch.from_numpy(label.astype(np.int64))
        if "log_age" in self.columns:
            seconds = age / UNITS_PER_SECOND[self.store.manifest.time_unit]
            batch.log_age = torch.from_numpy(np.log1p(seconds).astype(np.float32))


def _code_table(codec: Codec) -> torch.Tensor:
    """(w * 256, v) what each code at each place decodes to."""
    every = np.repeat(np.arange(256, dtype=np.uint8)[:, None], codec.width, axis=1)
    values = codec.decode(every.view(codec.dtype))  # (256, d)
    per_code = -(-codec.dim // codec.width)
    # The last code of an odd width holds fewer values than the others.
    values = np.pad(values, ((0, 0), (0, codec.width * per_code - codec.dim)))
    by_place = values.reshape(256, codec.width, per_code).transpose(1, 0, 2)
    return torch.from_numpy(by_place.reshape(256 * codec.width, per_code).copy())


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
    needed = int(store.event_id.max(initial=-1)) + 1
    if column.ndim != 1 or len(column) < needed:
        raise DataError(
            f"history of {store.folder}: ids {name}: expected one id per event of the log, "
            f"{needed} or more, found shape {column.shape}"
        )
    ordered = column[store.event_id]
    ordered[0] = 0
    return ordered
