"""Encoders without parameters: the mean and the sum of a history."""

from __future__ import annotations

from torch import Tensor

from fuxictr_loopfm.layers.base import SequenceEncoder
from fuxictr_loopfm.layers.spans import Spans


class SumPooling(SequenceEncoder):
    """Sum of the events; its length grows with the history, so it also tells activity."""

    kind = "sum"
    uses_query = False

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.output_dim = dim

    def forward(self, tokens: Tensor, spans: Spans, query: Tensor | None = None) -> Tensor:
        """Sum tokens (E, D) over each window; returns (B, D). Linear in the tokens."""
        return spans.sum(spans.pairs(tokens))

    def constant(self, spans: Spans) -> Tensor:
        """What the pooling makes of a one in every event, (B, 1)."""
        return spans.length.unsqueeze(1).float()


class MeanPooling(SumPooling):
    """Mean of the events."""

    kind = "mean"

    def forward(self, tokens: Tensor, spans: Spans, query: Tensor | None = None) -> Tensor:
        """Average tokens (E, D) over each window; returns (B, D). Linear in the tokens."""
        return super().forward(tokens, spans) / spans.length.clamp_min(1).unsqueeze(1)

    def constant(self, spans: Spans) -> Tensor:
        """What the pooling makes of a one in every event, (B, 1)."""
        return (spans.length > 0).unsqueeze(1).float()
