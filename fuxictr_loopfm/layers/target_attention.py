"""DIN: every past event is weighed against the target by a small network."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fuxictr_loopfm.layers.base import SequenceEncoder
from fuxictr_loopfm.layers.behaviours import places
from fuxictr_loopfm.layers.packing import Packing
from fuxictr_loopfm.layers.spans import Spans


def score_pairs(network: nn.Sequential, query: Tensor, tokens: Tensor) -> Tensor:
    """Apply a score network to [q, s, q - s, q * s] of every event s.

    Args:
        network: first layer Linear(4D, hidden), last output width 1. Layers that normalise see one
            row per event, padding included.
        query: (B, 1, D), or (B, L, D) if it differs by event.
        tokens: (B, L, D) float.

    Returns:
        (B, L) float scores.
    """
    first, *rest = network
    if not isinstance(first, nn.Linear):
        raise TypeError(f"a score network starts with a Linear layer, found {type(first).__name__}")
    # The first layer is linear in its four blocks, so it is applied block by block: the (B, L, 4D)
    # input is never built, and a query without L costs one row per sample.
    of_query, of_token, of_gap, of_product = first.weight.chunk(4, dim=1)
    hidden = F.linear(query * tokens, of_product, first.bias)
    hidden = hidden + F.linear(tokens, of_token - of_gap) + F.linear(query, of_query + of_gap)
    hidden = hidden.flatten(0, 1)  # (B * L, hidden), the shape that batch statistics need
    for layer in rest:
        hidden = layer(hidden)
    return hidden.view(tokens.shape[:2])


def score_behaviours(
    network: nn.Sequential,
    query: Tensor,
    behaviours: Tensor,
    packing: Packing,
    by_place: Tensor | None = None,
) -> Tensor:
    """Score every behaviour of padded sequences against its sample's query.

    A network that normalises over the batch is shown the padding as well, as behaviours of zero:
    FuxiCTR's models count padding in such statistics.

    Args:
        network: as in ``score_pairs``.
        query: (B, D) float.
        behaviours: (N, D) float, packed.
        packing: where they lie.
        by_place: (P, D) float, by a behaviour's number, 0 for the oldest: added to its query.

    Returns:
        (N,) float scores.
    """
    if any(isinstance(layer, _BatchNorm) for layer in network.modules()):
        asked = query.unsqueeze(1)
        if by_place is not None:
            asked = asked + by_place[places(packing.mask)]
        return packing.pack(score_pairs(network, asked, packing.unpack(behaviours)))
    asked = query.index_select(0, packing.spans.sample)
    if by_place is not None:
        asked = asked + by_place.index_select(0, packing.spans.place)
    return score_pairs(network, asked.unsqueeze(1), behaviours.unsqueeze(1)).squeeze(1)


def score_network(dim: int, hidden: int) -> nn.Sequential:
    """Score network with one hidden layer, for queries and tokens of width ``dim``."""
    return nn.Sequential(nn.Linear(4 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))


class DINAttention(SequenceEncoder):
    """Weighted sum of the history; the weights are raw scores, without a softmax.

    As in DIN (arXiv:1706.06978), weights are not normalised, so that the strength of an interest
    survives the pooling.

    Args:
        dim: width D of tokens and query; also the output width.
        hidden: width of the score network's one hidden layer (ours).
    """

    kind = "din"

    def __init__(self, dim: int, hidden: int = 64) -> None:
        super().__init__()
        self.output_dim = dim
        self.score = score_network(dim, hidden)

    def forward(self, tokens: Tensor, spans: Spans, query: Tensor) -> Tensor:
        """Pool tokens (E, D) over each window for ``query`` (B, D); returns (B, D)."""
        pairs = spans.pairs(tokens)  # (N, D)
        asked = query.index_select(0, spans.sample)
        weight = score_pairs(self.score, asked.unsqueeze(1), pairs.unsqueeze(1))  # (N, 1)
        return spans.sum(weight * pairs)
