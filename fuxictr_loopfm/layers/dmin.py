"""DMIN-style encoder: one interest per attention head, each with its own target attention."""

from __future__ import annotations

import math
from typing import cast

import torch
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
        heads: number H of interests; must divide ``dim``.
        dropout: probability for attention weights and the feed-forward output.
        max_len: longest history, the size of the position table.
        position_dim: width of the recency embedding that joins the query.
        hidden: width of the score networks' hidden layer.
    """

    kind = "dmin"
    options = (HEADS, DROPOUT)

    def __init__(
        self,
        dim: int,
        heads: int = 4,
        dropout: float = 0.0,
        max_len: int = 50,
        position_dim: int = 8,
        hidden: int = 32,
    ) -> None:
        super().__init__()
        self.head_dim = head_width(dim, heads)
        self.num_heads, self.dropout, self.max_len = heads, dropout, max_len
        self.position_dim = position_dim
        self.output_dim = heads * dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = HeadLinear(heads, self.head_dim, dim)
        self.norm_attention = HeadNorm(heads, dim)
        self.widen = HeadLinear(heads, dim, 2 * dim)
        self.narrow = HeadLinear(heads, 2 * dim, dim)
        self.norm_feed_forward = HeadNorm(heads, dim)
        self.position = nn.Embedding(max_len, position_dim)
        nn.init.normal_(self.position.weight, std=0.02)
        self.query = nn.Linear(dim + position_dim, heads * dim)
        self.score_inner = HeadLinear(heads, 3 * dim, hidden)
        self.score_outer = HeadLinear(heads, hidden, 1, bias=False)

    @classmethod
    def build(cls, spec: EncoderSpec) -> DMIN:
        """The encoder of a spec, for histories of at most its ``max_len``."""
        return cls(spec.dim, max_len=spec.max_len, **spec.options)

    @classmethod
    def problems(cls, spec: EncoderSpec) -> list[str]:
        """Heads that do not divide the width."""
        return head_problems(spec)

    def forward(self, tokens: Tensor, spans: Spans, query: Tensor) -> Tensor:
        """Pool tokens (E, D) over each window for ``query`` (B, D); returns (B, H*D)."""
        check_longest(spans, self.max_len)
        interests = self._interests(tokens, spans.runs)  # (H, E, D)
        seen = spans.pairs(interests, dim=1)  # (H, N, D)
        weight = spans.softmax(self._scores(interests, seen, query, spans))  # (N, H)
        weighted = weight.T.unsqueeze(-1) * seen
        pooled = weighted.new_zeros(self.num_heads, len(spans), weighted.shape[-1])
        pooled = pooled.index_add(1, spans.sample, weighted)
        return pooled.transpose(0, 1).flatten(1)

    def _interests(self, tokens: Tensor, runs: Spans) -> Tensor:
        """What each head makes of each event, (H, E, D): events see older ones only."""
        dropout = self.dropout if self.training else 0.0
        qkv = self.qkv(tokens).view(-1, 3, self.num_heads, self.head_dim)
        mixed = attend_within(qkv, runs, causal=True, dropout=dropout)
        # Reading and writing these (H, E, D) values takes longer than the products between them, so
        # sums and rectifiers overwrite what no gradient needs.
        seen = self.norm_attention(self.project(mixed.transpose(0, 1)).add_(tokens))
        thought = self.narrow(F.relu_(self.widen(seen)))
        result: Tensor = self.norm_feed_forward(F.dropout(thought, dropout).add_(seen))
        return result

    def _scores(self, interests: Tensor, seen: Tensor, query: Tensor, spans: Spans) -> Tensor:
        """Score of each pair per head, (N, H), from a layer over [q, s, q * s].

        That input spans DIN's [q, s, q - s, q * s], whose third block is linear in the first two.
        q is linear in the target and in the recency, so whatever is linear is done once per
        sample, per recency or per event, and only q * s once per pair.
        """
        dim = interests.shape[-1]
        of_query, of_event, of_product = self.score_inner.weight.split(dim, dim=1)
        by_target, by_place = self.query.weight.split([query.shape[1], self.position_dim], dim=1)
        asked = self._by_head(F.linear(query, by_target, self.query.bias))  # (H, B, D)
        placed = self._by_head(F.linear(self.position.weight, by_place))  # (H, max_len, D)
        bias = cast(Tensor, self.score_inner.bias)
        product = per_pair(asked, placed, spans) * seen
        linear = per_pair(torch.bmm(asked, of_query), torch.baddbmm(bias, placed, of_query), spans)
        linear.add_(spans.pairs(torch.bmm(interests, of_event), dim=1))
        hidden = torch.bmm(product, of_product).add_(linear)
        scores: Tensor = self.score_outer(F.relu_(hidden))
        return scores.squeeze(-1).transpose(0, 1)

    def _by_head(self, joined: Tensor) -> Tensor:
        """(M, H * D) to (H, M, D)."""
        return joined.unflatten(-1, (self.num_heads, -1)).transpose(0, 1)


def per_pair(by_sample: Tensor, by_recency: Tensor, spans: Spans) -> Tensor:
    """Sum of what belongs to a pair's sample (H, B, D) and to its recency (H, L, D): (H, N, D)."""
    of_recency = by_recency.index_select(1, spans.recency)
    return by_sample.index_select(1, spans.sample).add_(of_recency)
