"""Encoders without parameters: the mean and the sum of a history."""

from __future__ import annotations

from torch import Tensor

from fuxictr_loopfm.layers.base import SequenceEncoder, zero_padding


class SumPooling(SequenceEncoder):
    """Sum of the valid tokens; its length grows with the history, so it also tells activity."""

    uses_query = False

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.output_dim = dim

    def forward(self, tokens: Tensor, mask: Tensor, query: Tensor | None = None) -> Tensor:
        """Sum tokens (B, L, D) over the valid positions of ``mask`` (B, L); returns (B, D)."""
        return zero_padding(tokens, mask).sum(dim=1)


class MeanPooling(SumPooling):
    """Mean of the valid tokens."""

    def forward(self, tokens: Tensor, mask: Tensor, query: Tensor | None = None) -> Tensor:
        """Average tokens (B, L, D) over the valid positions of ``mask`` (B, L); returns (B, D)."""
        count = mask.sum(dim=1, keepdim=True).clamp_min(1)
        return super().forward(tokens, mask) / count
