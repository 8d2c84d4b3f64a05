"""A history encoder with an option of its own: newer events count more."""

from __future__ import annotations

from torch import Tensor

from fuxictr_loopfm import SequenceEncoder, register_encoder
from fuxictr_loopfm.layers.spans import Spans
from fuxictr_loopfm.registry import Option


@register_encoder
class DecayedMean(SequenceEncoder):
    """Mean of the events, each weighing half of the one ``half_life`` places newer."""

    kind = "decayed_mean"
    options = (Option("half_life", float, 2.0, more_than=0),)
    uses_query = False

    def __init__(self, dim: int, half_life: float = 2.0) -> None:
        super().__init__()
        self.output_dim = dim
        self.half_life = half_life

    def forward(self, tokens: Tensor, spans: Spans, query: Tensor | None = None) -> Tensor:
        """Pool tokens (E, D) over each window; returns (B, D)."""
        weight = 0.5 ** (spans.recency / self.half_life).unsqueeze(1)  # (N, 1)
        return spans.sum(weight * spans.pairs(tokens)) / spans.sum(weight).clamp_min(1e-9)
