"""DMIN's sequence module: refiner, self-attention heads, and an interest per head.

They are the paper's "Behavior Refiner Layer" and "Multi-Interest Extractor Layer".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxictr_loopfm.host.sequence_model import ScoreSettings
from fuxictr_loopfm.layers.base import head_width, masked_softmax, zero_padding
from fuxictr_loopfm.layers.behaviours import places, sum_and_product, weighted_sum
from fuxictr_loopfm.layers.groups import SequenceGroup
from fuxictr_loopfm.layers.target_attention import score_pairs


@dataclass(frozen=True)
class InterestSettings:
    """What the sequence modules of one model share.

    Attributes:
        num_heads: heads of every self-attention, and interests per sequence.
        net_dropout: probability after self-attention.
        layer_norm: whether self-attention ends in a layer normalisation.
        scores: the score networks; their dropout is self-attention's too.
        pos_emb_dim: width of the position that joins the target, None for no position.
        legacy_mask: whether the refiner leaks as FuxiCTR's does, see ``DMIN``.
    """

    num_heads: int
    net_dropout: float
    layer_norm: bool
    scores: ScoreSettings
    pos_emb_dim: int | None
    legacy_mask: bool


class SelfAttention(nn.Module):
    """Causal multi-head self-attention up to the concatenated heads.

    Args:
        width: width D of the sequence; the heads must divide it.
        settings: shared settings.
        bias: whether the projections have an offset.
    """

    def __init__(self, width: int, settings: InterestSettings, bias: bool) -> None:
        super().__init__()
        self.num_heads = settings.num_heads
        self.head_dim = head_width(width, settings.num_heads)
        self.dropout = settings.scores.dropout
        self.qkv = nn.Linear(width, 3 * width, bias=bias)

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """Sequence (B, L, D) to heads (B, L, H, D / H); ``mask`` broadcasts to (B, H, L, L)."""
        qkv = self.qkv(sequence).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, L, D / H)
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return heads.transpose(1, 2)


class FeedForward(nn.Module):
    """What follows self-attention: dropout, residual, normalisation, residual feed-forward.

    Args:
        width: width D of the sequence.
        settings: shared settings.
    """

    def __init__(self, width: int, settings: InterestSettings) -> None:
        super().__init__()
        self.dropout = nn.Dropout(settings.net_dropout)
        self.norm = nn.LayerNorm(width) if settings.layer_norm else nn.Identity()
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, sequence: Tensor, attended: Tensor) -> Tensor:
        """Sequence and what it attended to, both (B, L, D), to (B, L, D)."""
        seen = self.norm(self.dropout(attended) + sequence)
        return self.narrow(F.relu(self.widen(seen))) + seen


class BehaviorRefiner(nn.Module):
    """One self-attention layer that lets past behaviours see older ones.

    Args:
        width: width D of the sequence; the heads must divide it.
        settings: shared settings.
    """

    def __init__(self, width: int, settings: InterestSettings) -> None:
        super().__init__()
        self.legacy_mask = settings.legacy_mask
        self.attention = SelfAttention(width, settings, bias=True)
        self.output = nn.Linear(width, width)
        self.feed_forward = FeedForward(width, settings)

    def forward(self, sequence: Tensor, allowed: Tensor) -> Tensor:
        """Refine sequence (B, L, D); returns (B, L, D).

        ``allowed`` (B, 1, L, L) bool is True where a behaviour may attend, see ``causal_mask``.
        """
        # FuxiCTR hands 1.0 at forbidden pairs to an attention that adds float masks to the scores.
        mask = (~allowed).to(sequence.dtype) if self.legacy_mask else allowed
        attended = self.output(self.attention(sequence, mask).flatten(-2))
        return self.feed_forward(sequence, attended)


class InterestHead(nn.Module):
    """One interest: a head's view of the sequence, weighed against the target.

    Args:
        group: the sequence module's fields.
        settings: shared settings.
    """

    def __init__(self, group: SequenceGroup, settings: InterestSettings) -> None:
        super().__init__()
        width = group.width
        self.output = nn.Linear(head_width(width, settings.num_heads), width, bias=False)
        self.feed_forward = FeedForward(width, settings)
        self.position: nn.Embedding | None = None
        if settings.pos_emb_dim is not None:
            self.position = nn.Embedding(group.max_len, settings.pos_emb_dim)
            nn.init.zeros_(self.position.weight)
            self.placed_target = nn.Linear(width + settings.pos_emb_dim, width)
        self.attention = settings.scores.network(width)

    def forward(self, sequence: Tensor, head: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Sequence (B, L, D), head (B, L, D / H), target (B, D), mask (B, L) to interest (B, D)."""
        seen = zero_padding(self.feed_forward(sequence, self.output(head)), mask)
        query = target.unsqueeze(1)
        if self.position is not None:
            query = query.expand(-1, mask.shape[1], -1)
            query = self.placed_target(torch.cat([query, self.position(places(mask))], dim=-1))
        weight = masked_softmax(score_pairs(self.attention.mlp, query, seen), mask)
        return weighted_sum(weight, seen)


class InterestExtractor(nn.Module):
    """Optional refiner, self-attention, and one ``InterestHead`` per attention head.

    Args:
        group: the sequence module's fields.
        settings: shared settings.
        refine: whether a ``BehaviorRefiner`` comes first.
        sum_pooling: whether the plain sum of the sequence joins the interests.
    """

    def __init__(
        self, group: SequenceGroup, settings: InterestSettings, refine: bool, sum_pooling: bool
    ) -> None:
        super().__init__()
        self.sum_pooling = sum_pooling
        self.output_dim = group.width * (settings.num_heads + 2 * sum_pooling)
        self.refiner = BehaviorRefiner(group.width, settings) if refine else None
        self.attention = SelfAttention(group.width, settings, bias=False)
        self.heads = nn.ModuleList(InterestHead(group, settings) for _ in range(settings.num_heads))

    def forward(self, sequence: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Interests of sequence (B, L, D) for target (B, D) under ``mask`` (B, L).

        Returns:
            The concatenated interests (B, output_dim) and the refined sequence (B, L, D).
        """
        sequence = zero_padding(sequence, mask)
        allowed = causal_mask(mask)
        refined = sequence
        if self.refiner is not None:
            refined = self.refiner(sequence, allowed)
        attended = self.attention(refined, allowed)
        interests = [
            head(refined, attended[:, :, index], target, mask)
            for index, head in enumerate(self.heads)
        ]
        if self.sum_pooling:
            interests.append(sum_and_product(sequence, target))
        return torch.cat(interests, dim=-1), refined


def causal_mask(mask: Tensor) -> Tensor:
    """Pairs that may attend, (B, 1, L, L) bool: valid keys at or before the query, and itself.

    The diagonal stays on at padding too, so that no row of the softmax is empty.
    """
    length = mask.shape[1]
    older = mask.new_ones(length, length).tril()
    own = torch.eye(length, dtype=torch.bool, device=mask.device)
    return (mask.unsqueeze(1) & older | own).unsqueeze(1)
