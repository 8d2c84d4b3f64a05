"""Batches of histories: end to end as our encoders read them, or padded as other tools do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fuxictr_loopfm.layers.spans import Spans


@dataclass
class PackedEmbedding:
    """Embeddings as they are stored, unpacked by the model: an eighth of the bytes to move.

    Attributes:
        codes: (E, w) uint8 codes, or float16 or float32 values.
        table: (w * 256, v) float32 values that each code at each place stands for, None for values.
        dim: columns that are kept of the unpacked w * v, a Matryoshka prefix.
    """

    codes: Tensor
    table: Tensor | None
    dim: int

    def unpack(self) -> Tensor:
        """(E, dim) float32."""
        if self.table is None:
            return self.codes[:, : self.dim].float()
        place = torch.arange(self.codes.shape[1], device=self.codes.device) * 256
        values = self.table[self.codes.long() + place]  # (E, w, v)
        return values.flatten(1)[:, : self.dim]

    def to(self, device: torch.device | str) -> PackedEmbedding:
        """Copy on ``device``."""
        table = None if self.table is None else self.table.to(device)
        return PackedEmbedding(self.codes.to(device), table, self.dim)


def _moved(batch: HistoryBatch | PaddedHistory, device: torch.device | str) -> dict[str, Any]:
    """The columns of a batch on ``device``."""
    columns = {"embedding": batch.embedding, "label": batch.label, "log_age": batch.log_age}
    return {
        "ids": {name: ids.to(device) for name, ids in batch.ids.items()},
        **{name: None if value is None else value.to(device) for name, value in columns.items()},
    }


@dataclass
class HistoryBatch:
    """The past events of B samples, end to end, oldest first, without padding.

    ::

        samples      [a0 a1 a2]  []  [b0 b1]       embedding  a0 a1 a2 b0 b1
        spans        start 0 . 3, length 3 0 2     label       0  1  0  0  2  (0: not yet known)

    Attributes:
        spans: the windows of the samples over the E event rows.
        embedding: (E, d) float32 logged teacher embeddings, still packed, or None.
        label: (E,) int64, 0 = not yet known, 1 = negative, 2 = positive, or None.
        log_age: (E,) float32, log(1 + age in seconds), or None; then no rows are shared.
        ids: raw ids of past events per field, each (E,) int64.
    """

    spans: Spans
    embedding: Tensor | PackedEmbedding | None = None
    label: Tensor | None = None
    log_age: Tensor | None = None
    ids: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def batch_size(self) -> int:
        """Number of samples B."""
        return len(self)

    def to(self, device: torch.device | str) -> HistoryBatch:
        """Copy with every tensor on ``device``."""
        return HistoryBatch(spans=self.spans.to(device), **_moved(self, device))


@dataclass
class PaddedHistory:
    """The past events of B samples, left-padded to length L with the newest event last.

    The form in which tools outside this package read a history; our encoders first drop the
    padding.

    Attributes:
        mask: (B, L) bool, True = valid event.
        embedding, label, log_age, ids: as in ``HistoryBatch`` with (B, L) in place of (E,), zero at
            padding.
    """

    mask: Tensor
    embedding: Tensor | None = None
    label: Tensor | None = None
    log_age: Tensor | None = None
    ids: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.mask.shape[0])

    def to(self, device: torch.device | str) -> PaddedHistory:
        """Copy with every tensor on ``device``."""
        return PaddedHistory(mask=self.mask.to(device), **_moved(self, device))

    def ragged(self) -> HistoryBatch:
        """The same events without padding."""
        mask = self.mask
        return HistoryBatch(
            spans=Spans.of_lengths(mask.sum(dim=1)),
            embedding=None if self.embedding is None else self.embedding[mask],
            label=None if self.label is None else self.label[mask],
            log_age=None if self.log_age is None else self.log_age[mask],
            ids={name: ids[mask] for name, ids in self.ids.items()},
        )
