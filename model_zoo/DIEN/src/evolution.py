"""DIEN's sequence module: interests extracted by a GRU, then evolved towards the target.

Equations: arXiv:1809.03672, "Interest Extractor Layer" and "Interest Evolving Layer".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from fuxictr.pytorch.layers import MLP_Block
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.sequence_model import ScoreSettings
from fuxictr_loopfm.layers.base import masked_softmax, zero_padding
from fuxictr_loopfm.layers.behaviours import next_behavior_loss, sum_and_product, take_positions
from fuxictr_loopfm.layers.groups import SequenceGroup
from fuxictr_loopfm.layers.target_attention import score_pairs

GRU_TYPES = ("GRU", "AIGRU", "AGRU", "AUGRU")
ATTENTION_TYPES = ("din_attention", "bilinear_attention", "dot_attention")


@dataclass(frozen=True)
class EvolutionSettings:
    """What the sequence modules of one model share.

    Attributes:
        gru_type: how attention enters the second recurrence, see ``InterestEvolution``.
        attention_type: how an interest is scored against the target, see ``InterestAttention``.
        scores: the score network of ``din_attention``.
        use_attention_softmax: whether weights are normalised over the valid positions.
        sum_pooling: whether the plain sum of the sequence joins the result.

    Raises:
        ConfigError: an unknown ``gru_type`` or ``attention_type``.
    """

    gru_type: str
    attention_type: str
    scores: ScoreSettings
    use_attention_softmax: bool
    sum_pooling: bool

    def __post_init__(self) -> None:
        choices = {"gru_type": GRU_TYPES, "attention_type": ATTENTION_TYPES}
        problems = [
            f"{name}: expected one of {list(allowed)}, found {getattr(self, name)!r}."
            for name, allowed in choices.items()
            if getattr(self, name) not in allowed
        ]
        if problems:
            raise ConfigError(problems)


class InterestAttention(nn.Module):
    """Weights of interests against the target.

    ``din_attention`` applies an MLP to [q, h, q - h, q * h], ``bilinear_attention`` is h W q and
    ``dot_attention`` is h q.

    Args:
        width: width D of interests and target.
        settings: shared settings.
    """

    def __init__(self, width: int, settings: EvolutionSettings) -> None:
        super().__init__()
        self.use_softmax = settings.use_attention_softmax
        self.score: MLP_Block | None = None
        self.kernel: nn.Parameter | None = None
        if settings.attention_type == "bilinear_attention":
            self.kernel = nn.Parameter(torch.eye(width))
        elif settings.attention_type == "din_attention":
            self.score = settings.scores.network(width)

    def forward(self, interests: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Interests (B, L, D), target (B, D), mask (B, L) to weights (B, L), 0 at padding."""
        if self.score is not None:
            scores = score_pairs(self.score.mlp, target.unsqueeze(1), interests)
        else:
            keys = interests if self.kernel is None else interests @ self.kernel
            scores = torch.bmm(keys, target.unsqueeze(-1)).squeeze(-1)
        if self.use_softmax:
            return masked_softmax(scores, mask)
        return scores.masked_fill(~mask, 0.0)


class AttentionalGRU(nn.Module):
    """A GRU whose step sizes are scaled, or replaced, by attention weights.

    AUGRU scales the update gate by the weight, AGRU takes the weight as the update gate. A weight
    of 0 leaves the state as it is, so padding is passed over:

        r = sigmoid(W_r x + U_r h + b_r),  u = a * sigmoid(W_u x + U_u h + b_u)  (AGRU: u = a)
        h' = (1 - u) * h + u * tanh(W_h x + r * (U_h h) + b_h)

    Args:
        width: width D of input and state.
        update_gate: True for AUGRU, False for AGRU.
    """

    def __init__(self, width: int, update_gate: bool) -> None:
        super().__init__()
        self.gates = 3 if update_gate else 2
        self.of_input = nn.Linear(width, self.gates * width)
        self.of_state = nn.Linear(width, self.gates * width)

    def forward(self, sequence: Tensor, weight: Tensor) -> Tensor:
        """Last state (B, D) over sequence (B, L, D) under weights (B, L)."""
        state = torch.zeros_like(sequence[:, 0])
        steps = self.of_input(sequence).unbind(dim=1)
        for step, attention in zip(steps, weight.unsqueeze(-1).unbind(dim=1), strict=True):
            of_input = step.chunk(self.gates, dim=-1)
            of_state = self.of_state(state).chunk(self.gates, dim=-1)
            reset = torch.sigmoid(of_input[0] + of_state[0])
            candidate = torch.tanh(of_input[1] + reset * of_state[1])
            size = attention
            if self.gates == 3:
                size = attention * torch.sigmoid(of_input[2] + of_state[2])
            state = state + size * (candidate - state)
        return state


class Evolution(NamedTuple):
    """Output of ``InterestEvolution``; sequences are moved so that padding comes last.

    Attributes:
        pooled: (B, output_dim) float.
        interests: (B, L, D) float, states of the first recurrence, 0 at padding.
        order: (B, L) int64, where each position of ``interests`` was in the input.
        mask: (B, L) bool, valid positions of ``interests``.
    """

    pooled: Tensor
    interests: Tensor
    order: Tensor
    mask: Tensor


class InterestEvolution(nn.Module):
    """A GRU over the behaviours, then a second recurrence over its states.

    The second one is a plain GRU (``GRU``), a GRU over states scaled by their attention weights
    (``AIGRU``), or an ``AttentionalGRU`` (``AGRU``, ``AUGRU``). A sequence without any behaviour
    gives zeros.

    Args:
        group: the sequence module's fields.
        settings: shared settings.
    """

    def __init__(self, group: SequenceGroup, settings: EvolutionSettings) -> None:
        super().__init__()
        width, kind = group.width, settings.gru_type
        self.sum_pooling = settings.sum_pooling
        self.output_dim = width * (3 if settings.sum_pooling else 1)
        self.extraction = nn.GRU(width, width, batch_first=True)
        self.attention = InterestAttention(width, settings) if kind != "GRU" else None
        self.evolution: nn.GRU | AttentionalGRU
        if kind in ("GRU", "AIGRU"):
            self.evolution = nn.GRU(width, width, batch_first=True)
        else:
            self.evolution = AttentionalGRU(width, update_gate=kind == "AUGRU")

    def forward(self, sequence: Tensor, target: Tensor, mask: Tensor) -> Evolution:
        """Evolve sequence (B, L, D) towards target (B, D) under ``mask`` (B, L)."""
        order = torch.argsort((~mask).int(), dim=1, stable=True)
        mask = mask.gather(1, order)
        sequence = zero_padding(take_positions(sequence, order), mask)
        # With padding last a recurrence has left the behaviours before it meets any padding.
        interests = zero_padding(self.extraction(sequence)[0], mask)
        pooled = self._evolve(interests, target, mask)
        if self.sum_pooling:
            pooled = torch.cat([pooled, sum_and_product(sequence, target)], dim=-1)
        return Evolution(pooled, interests, order, mask)

    def _evolve(self, interests: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        weight = None if self.attention is None else self.attention(interests, target, mask)
        if isinstance(self.evolution, AttentionalGRU):
            return self.evolution(interests, weight)
        if weight is not None:
            interests = interests * weight.unsqueeze(-1)
        states, _ = self.evolution(interests)
        newest = (mask.sum(dim=1, keepdim=True) - 1).clamp_min(0)  # (B, 1)
        return zero_padding(take_positions(states, newest), mask[:, :1]).squeeze(1)


def auxiliary_loss(
    network: nn.Module, evolution: Evolution, actual: Tensor, sampled: Tensor, known: Tensor
) -> Tensor:
    """How badly an interest tells the next actual behaviour from a sampled one, () float.

    Args:
        network: logit of a pair, (N, 2D) to (N, 1).
        evolution: the interests.
        actual, sampled: (B, L, D) float, embedded behaviours in the order of the input.
        known: (B, L) bool, where ``sampled`` holds a behaviour, in the order of the input.
    """
    order = evolution.order
    return next_behavior_loss(
        network,
        evolution.interests,
        take_positions(actual, order),
        take_positions(sampled, order),
        evolution.mask,
        known.gather(1, order),
    )
