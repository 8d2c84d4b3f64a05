"""Self-attention over a history, read out by the target."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fuxictr_loopfm.layers.base import (
    SequenceEncoder,
    attend,
    head_width,
    recency,
    zero_padding,
)


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

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, L, D) and mask (B, L) to (B, L, D)."""
        batch, length, dim = tokens.shape
        dropout = self.dropout if self.training else 0.0
        qkv = self.qkv(self.norm_attention(tokens))
        qkv = qkv.view(batch, length, 3, self.num_heads, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, L, Dh)
        mixed = attend(query, key, value, mask, dropout)
        tokens = tokens + self.output(mixed.transpose(1, 2).reshape(batch, length, dim))
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

    def forward(self, tokens: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        """Tokens (B, L, D), mask (B, L), query (B, D) to (B, D)."""
        batch, length, dim = tokens.shape
        head = (self.num_heads, self.head_dim)
        key_value = self.key_value(tokens).view(batch, length, 2, *head)
        key, value = key_value.permute(2, 0, 3, 1, 4)  # each (B, H, L, Dh)
        question = self.query(query).view(batch, 1, *head).transpose(1, 2)  # (B, H, 1, Dh)
        pooled: Tensor = self.output(attend(question, key, value, mask, 0.0).reshape(batch, dim))
        return pooled


class SelfAttention(SequenceEncoder):
    """Transformer blocks with recency positions and a single-query readout by the target.

    Every event is in the sample's past, so events see each other in both directions.

    Args:
        dim: width D of tokens, query and output.
        num_heads: heads; must divide ``dim``.
        num_layers: transformer blocks before the readout.
        dropout: probability inside the blocks.
        max_len: longest history, the size of the position table.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 4,
        num_layers: int = 1,
        dropout: float = 0.0,
        max_len: int = 50,
    ) -> None:
        super().__init__()
        self.output_dim = dim
        self.max_len = max_len
        self.position = nn.Embedding(max_len, dim)
        nn.init.normal_(self.position.weight, std=0.02)
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(dim, num_heads, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.readout = TargetReadout(dim, num_heads)

    def forward(self, tokens: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        """Pool tokens (B, L, D) under ``mask`` (B, L) for ``query`` (B, D); returns (B, D)."""
        tokens = zero_padding(tokens, mask) + self.position(recency(mask, self.max_len))
        for block in self.blocks:
            tokens = block(tokens, mask)
        pooled: Tensor = self.readout(self.norm(tokens), mask, query)
        return pooled
