"""DMIN's sequence module: refiner, self-attention heads, and an interest per head.

They are the paper's "Behavior Refiner Layer" and "Multi-Interest Extractor Layer". Sequences come
padded; all layers work on the N behaviours of a batch end to end, see ``Packing``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxictr_loopfm.host.sequence_model import ScoreSettings
from fuxictr_loopfm.layers.base import attend_within, head_width
from fuxictr_loopfm.layers.groups import SequenceGroup
from fuxictr_loopfm.layers.packing import Packing
from fuxictr_loopfm.layers.target_attention import score_behaviours


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
        width: width D of a behaviour; the heads must divide it.
        settings: shared settings.
        bias: whether the projections have an offset.
    """

    def __init__(self, width: int, settings: InterestSettings, bias: bool) -> None:
        super().__init__()
        self.num_heads = settings.num_heads
        self.head_dim = head_width(width, settings.num_heads)
        self.dropout = settings.scores.dropout
        self.qkv = nn.Linear(width, 3 * width, bias=bias)

    def forward(self, behaviours: Tensor, packing: Packing) -> Tensor:
        """Behaviours (N, D) to heads (N, H, D / H)."""
        dropout = self.dropout if self.training else 0.0
        return attend_within(self._qkv(behaviours), packing.spans, causal=True, dropout=dropout)

    def leaking(self, behaviours: Tensor, packing: Packing) -> Tensor:
        """``forward`` under FuxiCTR's mask, which adds 1.0 to the scores of forbidden pairs."""
        query, key, value = self._qkv(packing.unpack(behaviours)).permute(2, 0, 3, 1, 4)
        mask = (~causal_mask(packing.mask)).to(behaviours.dtype)
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(query, key, value, mask, dropout)
        return packing.pack(heads.transpose(1, 2))

    def _qkv(self, sequence: Tensor) -> Tensor:
        """(..., D) to (..., 3, H, D / H)."""
        return self.qkv(sequence).unflatten(-1, (3, self.num_heads, self.head_dim))


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

    def forward(self, behaviours: Tensor, attended: Tensor) -> Tensor:
        """Behaviours and what they attended to, both (N, D), to (N, D)."""
        seen = self.norm(self.dropout(attended) + behaviours)
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

    def forward(self, behaviours: Tensor, packing: Packing) -> Tensor:
        """Refine behaviours (N, D); returns (N, D)."""
        attend = self.attention.leaking if self.legacy_mask else self.attention
        attended = self.output(attend(behaviours, packing).flatten(-2))
        return self.feed_forward(behaviours, attended)


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

    def forward(self, behaviours: Tensor, head: Tensor, target: Tensor, packing: Packing) -> Tensor:
        """Behaviours (N, D), head (N, D / H) and target (B, D) to interest (B, D)."""
        seen = self.feed_forward(behaviours, self.output(head))
        query, by_place = target, None
        if self.position is not None:
            # Linear in [target, position]: done once per sample and once per place.
            width = target.shape[1]
            of_target, of_place = self.placed_target.weight.tensor_split([width], dim=1)
            query = F.linear(target, of_target, self.placed_target.bias)
            by_place = F.linear(self.position.weight, of_place)
        scores = score_behaviours(self.attention.mlp, query, seen, packing, by_place)
        weight = packing.spans.softmax(scores.unsqueeze(1))
        return packing.spans.sum(weight * seen)


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

    def forward(self, sequence: Tensor, target: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """Interests of padded sequence (B, L, D) for target (B, D).

        Returns:
            The concatenated interests (B, output_dim) and the refined behaviours (N, D).
        """
        behaviours = packing.pack(sequence)
        refined = behaviours if self.refiner is None else self.refiner(behaviours, packing)
        attended = self.attention(refined, packing)
        interests = [
            head(refined, attended[:, index], target, packing)
            for index, head in enumerate(self.heads)
        ]
        if self.sum_pooling:
            total = packing.spans.sum(behaviours)
            interests += [total, target * total]
        return torch.cat(interests, dim=-1), refined


def causal_mask(mask: Tensor) -> Tensor:
    """Pairs that may attend, (B, 1, L, L) bool: valid keys at or before the query, and itself.

    The diagonal stays on at padding too, so that no row of the softmax is empty.
    """
    length = mask.shape[1]
    older = mask.new_ones(length, length).tril()
    own = torch.eye(length, dtype=torch.bool, device=mask.device)
    return (mask.unsqueeze(1) & older | own).unsqueeze(1)
