"""Self-attention over a history, read out by the target."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from fuxictr_loopfm.layers.base import (
    DROPOUT,
    HEADS,
    EncoderSpec,
    SequenceEncoder,
    attend_within,
    check_longest,
    head_problems,
    head_width,
)
from fuxictr_loopfm.layers.spans import Spans
from fuxictr_loopfm.registry import Option


class SelfAttentionBlock(nn.Module):
    """One pre-norm transformer block: attention over valid events, then a 4x feed-forward.

    Args:
        dim: token width D.
        num_heads: heads; must divide ``dim``.
        dropout: probability for attention weights and the feed-forward output.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_width(dim, num_heads)
        self.dropout = dropout
        self.norm_attention = nn.LayerNorm(dim)
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor, spans: Spans) -> Tensor:
        """Tokens (E, D) of windows that follow each other to (E, D)."""
        dropout = self.dropout if self.training else 0.0
        qkv = self.qkv(self.norm_attention(tokens)).view(-1, 3, self.num_heads, self.head_dim)
        mixed = attend_within(qkv, spans, causal=False, dropout=dropout)
        tokens = tokens + self.output(mixed.flatten(1))
        wide = F.gelu(self.widen(self.norm_feed_forward(tokens)))
        return tokens + F.dropout(self.narrow(wide), dropout)


class TargetReadout(nn.Module):
    """Multi-head attention of one query per sample over the events.

    Args:
        dim: width D of query, tokens and output.
        num_heads: heads; must divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_width(dim, num_heads)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        # Without a bias an empty history stays exactly zero.
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: Tensor, spans: Spans, query: Tensor) -> Tensor:
        """Tokens (E, D), their windows and query (B, D) to (B, D)."""
        head = (self.num_heads, self.head_dim)
        key, value = spans.pairs(self.key_value(tokens)).view(-1, 2, *head).unbind(1)  # (N, H, Dh)
        question = self.query(query).view(-1, *head).index_select(0, spans.sample)
        weight = spans.softmax((question * key).sum(-1) / math.sqrt(self.head_dim))  # (N, H)
        pooled: Tensor = self.output(spans.sum((weight.unsqueeze(-1) * value).flatten(1)))
        return pooled


class SelfAttention(SequenceEncoder):
    """Transformer blocks with recency positions and a single-query readout by the target.

    Every event is in the sample's past, so events see each other in both directions.

    Args:
        dim: width D of tokens, query and output.
        heads: heads; must divide ``dim``.
        layers: transformer blocks before the readout.
        dropout: probability inside the blocks.
        max_len: longest history, the size of the position table.
    """

    kind = "self_attention"
    options = (HEADS, Option("layers", int, 1, at_least=1), DROPOUT)

    def __init__(
        self,
        dim: int,
        heads: int = 4,
        layers: int = 1,
        dropout: float = 0.0,
        max_len: int = 50,
    ) -> None:
        super().__init__()
        self.output_dim = dim
        self.max_len = max_len
        self.position = nn.Embedding(max_len, dim)
        nn.init.normal_(self.position.weight, std=0.02)
        self.blocks = nn.ModuleList(SelfAttentionBlock(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.readout = TargetReadout(dim, heads)

    @classmethod
    def build(cls, spec: EncoderSpec) -> SelfAttention:
        """The encoder of a spec, for histories of at most its ``max_len``."""
        return cls(spec.dim, max_len=spec.max_len, **spec.options)

    @classmethod
    def problems(cls, spec: EncoderSpec) -> list[str]:
        """Heads that do not divide the width."""
        return head_problems(spec)

    def forward(self, tokens: Tensor, spans: Spans, query: Tensor) -> Tensor:
        """Pool tokens (E, D) over each window for ``query`` (B, D); returns (B, D)."""
        check_longest(spans, self.max_len)
        # Events look both ways, so only samples with the very same window can share the work.
        distinct, own = spans.distinct()
        windows = Spans.of_lengths(distinct.length)
        tokens = distinct.pairs(tokens) + self.position(windows.recency)
        for block in self.blocks:
            tokens = block(tokens, windows)
        theirs = Spans(windows.start[own], windows.length[own], windows.length, spans.is_shared)
        pooled: Tensor = self.readout(self.norm(tokens), theirs, query)
        return pooled
