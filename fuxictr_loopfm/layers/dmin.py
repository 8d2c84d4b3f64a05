"""DMIN-style encoder: one interest per attention head, each with its own target attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxictr_loopfm.layers.base import (
    SequenceEncoder,
    head_width,
    masked_softmax,
    recency,
    zero_padding,
)

_NORM_EPS = 1e-5


class HeadLinear(nn.Module):
    """A separate linear map per head, applied to all heads in one batched product.

    Args:
        num_heads: number H of maps.
        in_dim: input width of each map.
        out_dim: output width of each map.
        bias: whether to add a learned offset.
    """

    def __init__(self, num_heads: int, in_dim: int, out_dim: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_heads, in_dim, out_dim))
        self.bias = nn.Parameter(torch.empty(num_heads, 1, out_dim)) if bias else None
        self.init_weights()

    def init_weights(self) -> None:
        """Xavier per head and zero bias, as FuxiCTR resets its linear layers by this hook."""
        _, in_dim, out_dim = self.weight.shape
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / (in_dim + out_dim)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (H, N, in_dim) to (H, N, out_dim)."""
        if self.bias is None:
            return torch.bmm(inputs, self.weight)
        return torch.baddbmm(self.bias, inputs, self.weight)


class HeadNorm(nn.Module):
    """Layer normalisation with a separate scale and shift per head."""

    def __init__(self, num_heads: int, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_heads, 1, dim))
        self.shift = nn.Parameter(torch.zeros(num_heads, 1, dim))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (H, N, D) to (H, N, D)."""
        normed = F.layer_norm(inputs, inputs.shape[-1:], eps=_NORM_EPS)
        return torch.addcmul(self.shift, normed, self.scale)


class DMIN(SequenceEncoder):
    """Causal multi-head self-attention, per-head feed-forward and per-head target attention.

    An event attends to itself and to older valid events. Head h projects what it saw back to
    width D, adds the token and normalises; a feed-forward of twice the width follows. The target,
    joined with the event's recency, then weighs the events of every head by a score network and a
    softmax. The H interests are concatenated. The paper (arXiv:2605.29280, Sec. 4) names the
    encoder and its 4 heads; widths are ours.

    Args:
        dim: width D of tokens and query.
        num_heads: number H of interests; must divide ``dim``.
        dropout: probability for attention weights and the feed-forward output.
        max_len: longest history, the size of the position table.
        position_dim: width of the recency embedding that joins the query.
        hidden: width of the score networks' hidden layer.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 4,
        dropout: float = 0.0,
        max_len: int = 50,
        position_dim: int = 8,
        hidden: int = 32,
    ) -> None:
        super().__init__()
        self.head_dim = head_width(dim, num_heads)
        self.num_heads, self.dropout, self.max_len = num_heads, dropout, max_len
        self.output_dim = num_heads * dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = HeadLinear(num_heads, self.head_dim, dim)
        self.norm_attention = HeadNorm(num_heads, dim)
        self.widen = HeadLinear(num_heads, dim, 2 * dim)
        self.narrow = HeadLinear(num_heads, 2 * dim, dim)
        self.norm_feed_forward = HeadNorm(num_heads, dim)
        self.position = nn.Embedding(max_len, position_dim)
        nn.init.normal_(self.position.weight, std=0.02)
        self.query = nn.Linear(dim + position_dim, num_heads * dim)
        self.score_inner = HeadLinear(num_heads, 3 * dim, hidden)
        self.score_outer = HeadLinear(num_heads, hidden, 1, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        """Pool tokens (B, L, D) under ``mask`` (B, L) for ``query`` (B, D); returns (B, H*D)."""
        batch, length, _ = tokens.shape
        tokens = zero_padding(tokens, mask)
        # Half of the slots or more are padding: all that works event by event runs on the N valid
        # events alone.
        slot = mask.reshape(-1).nonzero().squeeze(1)  # (N,)
        sample = slot.div(length, rounding_mode="floor")
        place = recency(mask, self.max_len).reshape(-1)[slot]
        interests = self._interests(tokens, mask, slot)  # (H, N, D)
        scores = self._scores(
            interests, query.index_select(0, sample), self.position(place)
        )  # (N, H)
        padded = scores.new_zeros(batch * length, self.num_heads).index_copy(0, slot, scores)
        padded = padded.view(batch, length, self.num_heads).transpose(1, 2)
        weight = masked_softmax(padded, mask.unsqueeze(1))  # (B, H, L)
        weight = weight.transpose(1, 2).reshape(-1, self.num_heads).index_select(0, slot)
        weighted = (weight.unsqueeze(-1) * interests.transpose(0, 1)).flatten(1)  # (N, H*D)
        return weighted.new_zeros(batch, self.output_dim).index_add(0, sample, weighted)

    def _interests(self, tokens: Tensor, mask: Tensor, slot: Tensor) -> Tensor:
        """What each head makes of each valid event: (H, N, D)."""
        batch, length, dim = tokens.shape
        dropout = self.dropout if self.training else 0.0
        qkv = self.qkv(tokens).view(batch, length, 3, self.num_heads, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, L, Dh)
        older = mask.new_ones(length, length).tril()
        own = torch.eye(length, dtype=torch.bool, device=mask.device)
        # The diagonal is always on, so no softmax is ever empty.
        allowed = (mask.unsqueeze(1) & older | own).unsqueeze(1)  # (B, 1, L, L)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=allowed, dropout_p=dropout
        )
        mixed = mixed.transpose(1, 2).reshape(batch * length, dim).index_select(0, slot)
        mixed = mixed.view(-1, self.num_heads, self.head_dim).transpose(0, 1)  # (H, N, Dh)
        events = tokens.reshape(batch * length, dim).index_select(0, slot)
        seen = self.norm_attention(events + self.project(mixed))
        thought = self.narrow(F.relu(self.widen(seen)))
        result: Tensor = self.norm_feed_forward(seen + F.dropout(thought, dropout))
        return result

    def _scores(self, interests: Tensor, query: Tensor, position: Tensor) -> Tensor:
        """Score of each valid event per head, (N, H), from query (N, D) and position (N, P).

        The input [q, s, q * s] spans DIN's [q, s, q - s, q * s], whose third block is linear in
        the first two.
        """
        question = self.query(torch.cat([query, position], dim=-1))
        question = question.unflatten(-1, (self.num_heads, -1)).transpose(0, 1)  # (H, N, D)
        joined = torch.cat([question, interests, question * interests], dim=-1)
        scores: Tensor = self.score_outer(F.relu(self.score_inner(joined)))
        return scores.squeeze(-1).transpose(0, 1)
