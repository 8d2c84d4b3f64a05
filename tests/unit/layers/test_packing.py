"""Packed behaviours stand for padded sequences, in values, scores and what is learnt."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fuxictr_loopfm.layers.behaviours import places
from fuxictr_loopfm.layers.packing import Packing
from fuxictr_loopfm.layers.target_attention import score_behaviours, score_pairs

# Padding behind, before, in between, and nothing but padding.
MASK = torch.tensor(
    [[True, True, False], [False, True, True], [True, False, True], [False, False, False]]
)
DIM = 4


def test_packing_keeps_behaviours_in_order_and_unpacking_puts_them_back() -> None:
    values = torch.arange(12).view(4, 3)
    packing = Packing(MASK)
    assert packing.pack(values).tolist() == [0, 1, 4, 5, 6, 8]
    assert torch.equal(packing.unpack(packing.pack(values)), values * MASK)
    assert packing.spans.sample.tolist() == [0, 0, 1, 1, 2, 2]
    assert packing.spans.place.tolist() == [0, 1, 0, 1, 0, 1]
    nothing = Packing(MASK[3:])
    assert nothing.unpack(nothing.pack(values[3:])).tolist() == [[0, 0, 0]]


def network(normalises: bool) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5) if normalises else nn.Identity()
    return nn.Sequential(nn.Linear(4 * DIM, 5), norm, nn.Tanh(), nn.Linear(5, 1))


@pytest.mark.parametrize("normalises", [False, True])
def test_scores_and_gradients_equal_those_of_padded_sequences(normalises: bool) -> None:
    query, sequence, by_place = torch.randn(4, DIM), torch.randn(4, 3, DIM), torch.randn(3, DIM)
    packing, found_in, expected_in = Packing(MASK), network(normalises), network(normalises)
    found = score_behaviours(found_in, query, packing.pack(sequence), packing, by_place)
    asked = query.unsqueeze(1) + by_place[places(MASK)]
    expected = score_pairs(expected_in, asked, sequence * MASK.unsqueeze(-1))[MASK]
    torch.testing.assert_close(found, expected)

    def gradients(scores: Tensor, module: nn.Module) -> tuple[Tensor, ...]:
        return torch.autograd.grad(scores.square().sum(), list(module.parameters()))

    torch.testing.assert_close(gradients(found, found_in), gradients(expected, expected_in))
    for ours, theirs in zip(found_in.buffers(), expected_in.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
