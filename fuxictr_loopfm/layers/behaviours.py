"""Small steps on padded behaviour sequences, and losses that tell real from sampled behaviours.

Padding may lie on either side of a sequence, or between behaviours; a mask says where it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def weighted_sum(weight: Tensor, sequence: Tensor) -> Tensor:
    """Sum of sequence (B, L, D) under weights (B, L), (B, D)."""
    return torch.bmm(weight.unsqueeze(1), sequence).squeeze(1)


def sum_and_product(sequence: Tensor, target: Tensor) -> Tensor:
    """What sum pooling adds to a DNN's input: the sum of a sequence, and its product with a target.

    Args:
        sequence: (B, L, D) float, 0 at padding.
        target: (B, D) float.

    Returns:
        (B, 2D) float.
    """
    total = sequence.sum(dim=1)
    return torch.cat([total, target * total], dim=-1)


def places(mask: Tensor) -> Tensor:
    """Number of each behaviour, 0 for the oldest: the same with padding on either side.

    Args:
        mask: (B, L) bool, True at behaviours.

    Returns:
        (B, L) int64; at padding the number of the behaviour before it, or 0.
    """
    return (mask.long().cumsum(dim=1) - 1).clamp_min(0)


def newest(mask: Tensor) -> Tensor:
    """The last behaviour of each row of ``mask`` (B, L), (B, L) bool."""
    not_older = mask.long().flip(1).cumsum(1).flip(1) == 1
    return mask & not_older


def take_positions(sequence: Tensor, index: Tensor) -> Tensor:
    """Rows of sequence (B, L, D) at ``index`` (B, K) int64, (B, K, D)."""
    return sequence.gather(1, index.unsqueeze(-1).expand(-1, -1, sequence.shape[-1]))


def telling_apart_loss(actual: Tensor, sampled: Tensor) -> Tensor:
    """Binary cross entropy of actual (label 1) against sampled (label 0), averaged over both.

    Args:
        actual, sampled: (N, ...) and (M, ...) float logits.

    Returns:
        () float, 0 if there are no logits.
    """
    logits = torch.cat([actual, sampled])
    labels = torch.cat([torch.ones_like(actual), torch.zeros_like(sampled)])
    total = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    return total / max(logits.numel(), 1)


def next_behavior_loss(
    network: nn.Module,
    states: Tensor,
    actual: Tensor,
    sampled: Tensor,
    known: Tensor,
    known_sampled: Tensor,
) -> Tensor:
    """How badly the state at a behaviour tells the next actual behaviour from a sampled one.

    The auxiliary loss of DIEN (arXiv:1809.03672, "Interest Extractor Layer") and of DMIN.

    Args:
        network: logit of a pair, (N, 2D) to (N, 1).
        states: (B, L, D) float, what a model knows at each position.
        actual, sampled: (B, L, D) float, embedded behaviours.
        known, known_sampled: (B, L) bool, where the sequence and its negatives hold a behaviour.

    Returns:
        () float, averaged over all pairs of neighbours; 0 if there are none.
    """
    neighbours = known[:, :-1] & known[:, 1:]
    logits = []
    for following, valid in ((actual, known), (sampled, known_sampled)):
        pairs = neighbours & valid[:, 1:]
        joined = torch.cat([states[:, :-1][pairs], following[:, 1:][pairs]], dim=-1)
        logits.append(network(joined))
    return telling_apart_loss(*logits)
