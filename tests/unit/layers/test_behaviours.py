"""Steps on padded behaviour sequences against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fuxictr_loopfm.layers.behaviours import (
    newest,
    next_behavior_loss,
    places,
    sum_and_product,
    take_positions,
    telling_apart_loss,
    weighted_sum,
)

# Padding behind, before, in between, and nothing but padding.
MASK = torch.tensor(
    [[True, True, False], [False, True, True], [True, False, True], [False, False, False]]
)


def test_behaviours_are_numbered_from_the_oldest_whatever_the_padding() -> None:
    numbers = places(MASK)
    assert [row[kept].tolist() for row, kept in zip(numbers, MASK, strict=True)] == [
        [0, 1], [0, 1], [0, 1], [],
    ]  # fmt: skip
    assert numbers.min() == 0, "padding has a number that a table holds"


def test_the_newest_behaviour_is_the_last_valid_one() -> None:
    assert newest(MASK).nonzero().tolist() == [[0, 1], [1, 2], [2, 2]]


def test_sums_equal_loops() -> None:
    torch.manual_seed(0)
    sequence, weight, target = torch.randn(2, 3, 4), torch.randn(2, 3), torch.randn(2, 4)
    weighted = torch.stack([sum(weight[b, j] * sequence[b, j] for j in range(3)) for b in (0, 1)])
    torch.testing.assert_close(weighted_sum(weight, sequence), weighted)
    total = sequence[:, 0] + sequence[:, 1] + sequence[:, 2]
    expected = torch.cat([total, target * total], dim=1)
    torch.testing.assert_close(sum_and_product(sequence, target), expected)
    taken = take_positions(sequence, torch.tensor([[2, 0], [1, 1]]))
    assert torch.equal(taken[0], sequence[0, [2, 0]]) and torch.equal(taken[1], sequence[1, [1, 1]])


def test_telling_apart_is_averaged_over_actual_and_sampled() -> None:
    actual, sampled = torch.tensor([2.0, 1.0]), torch.tensor([-1.5])
    terms = [math.log1p(math.exp(-x)) for x in (2.0, 1.0, 1.5)]
    loss = telling_apart_loss(actual, sampled)
    assert loss.item() == pytest.approx(sum(terms) / 3, rel=1e-6)
    assert telling_apart_loss(actual[:0], sampled[:0]).item() == 0.0


def test_next_behavior_loss_of_known_pairs() -> None:
    """The logit is (refined + following) / 2 for width 1; padding is 99 and must not enter."""
    network = nn.Linear(2, 1, bias=False)
    nn.init.constant_(network.weight, 0.5)
    refined = torch.tensor([[1.0, 2.0, 99.0], [1.0, 99.0, 99.0]]).unsqueeze(-1)
    actual = torch.tensor([[5.0, 3.0, 99.0], [5.0, 99.0, 99.0]]).unsqueeze(-1)
    sampled = torch.tensor([[5.0, -4.0, 99.0], [5.0, 99.0, 99.0]]).unsqueeze(-1)
    known = torch.tensor([[True, True, False], [True, False, False]])
    # One pair: logit 2 with truth 1, logit -1.5 with truth 0.
    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.5))) / 2
    loss = next_behavior_loss(network, refined, actual, sampled, known, known)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    nothing = next_behavior_loss(
        network, refined[1:], actual[1:], sampled[1:], known[1:], known[1:]
    )
    assert nothing.item() == 0.0


def test_next_behavior_loss_skips_a_missing_negative_and_a_negative_without_a_behaviour() -> None:
    network = nn.Linear(2, 1, bias=False)
    nn.init.constant_(network.weight, 0.5)
    values = torch.tensor([[1.0, 3.0], [7.0, 7.0]]).unsqueeze(-1)
    known = torch.tensor([[True, True], [True, False]])
    known_sampled = torch.tensor([[True, False], [True, True]])
    loss = next_behavior_loss(network, values, values, values, known, known_sampled)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2.0)), rel=1e-6)
