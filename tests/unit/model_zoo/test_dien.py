"""DIEN's recurrences equal loops over behaviours, written from the formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo_models import MAX_LEN, group, part, scattered, sequential, up_to

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.sequence_model import ScoreSettings

evolution = part("DIEN", "evolution")


def settings_of_evolution(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "gru_type": "AUGRU", "attention_type": "din_attention", "use_attention_softmax": True,
        "scores": ScoreSettings((6,), "ReLU", 0.0), "sum_pooling": False,
    }  # fmt: skip
    return evolution.EvolutionSettings(**values | changes)


def evolved(**changes: Any) -> tuple[Any, Tensor, Tensor, tuple[int, ...]]:
    """A module with large weights, sequences (3, L, 4), targets, and their lengths."""
    torch.manual_seed(0)
    module = scattered(evolution.InterestEvolution(group(4), settings_of_evolution(**changes)))
    return module, torch.randn(3, MAX_LEN, 4), torch.randn(3, 4), (3, 1, 6)


def gru_step(layer: nn.GRU, x: Tensor, h: Tensor) -> Tensor:
    """One step of a GRU from the documented formula."""
    of_x = (layer.weight_ih_l0 @ x + layer.bias_ih_l0).chunk(3)
    of_h = (layer.weight_hh_l0 @ h + layer.bias_hh_l0).chunk(3)
    reset, keep = torch.sigmoid(of_x[0] + of_h[0]), torch.sigmoid(of_x[1] + of_h[1])
    return (1 - keep) * torch.tanh(of_x[2] + reset * of_h[2]) + keep * h


def attentional_step(layer: Any, x: Tensor, h: Tensor, attention: Tensor) -> Tensor:
    of_x, of_h = layer.of_input(x).split(4), layer.of_state(h).split(4)
    candidate = torch.tanh(of_x[1] + torch.sigmoid(of_x[0] + of_h[0]) * of_h[1])
    update = attention * torch.sigmoid(of_x[2] + of_h[2]) if len(of_x) == 3 else attention
    return (1 - update) * h + update * candidate


@pytest.mark.parametrize("gru_type", ["GRU", "AIGRU", "AGRU", "AUGRU"])
@pytest.mark.parametrize("attention_type", ["din_attention", "bilinear_attention", "dot_attention"])
@pytest.mark.parametrize("use_softmax", [True, False])
def test_evolution_equals_loops_over_behaviours(
    gru_type: str, attention_type: str, use_softmax: bool
) -> None:
    module, sequences, targets, lengths = evolved(
        gru_type=gru_type, attention_type=attention_type, use_attention_softmax=use_softmax
    )
    found = module(sequences, targets, up_to(*lengths)).pooled
    for row, length in enumerate(lengths):
        states, h = [], torch.zeros(4)
        for x in sequences[row, :length]:
            h = gru_step(module.extraction, x, h)
            states.append(h)
        q, scores = targets[row], []
        for s in states:
            if attention_type == "din_attention" and gru_type != "GRU":
                scores.append(module.attention.score(torch.cat([q, s, q - s, q * s])).squeeze())
            elif attention_type == "bilinear_attention" and gru_type != "GRU":
                scores.append(s @ module.attention.kernel @ q)
            else:
                scores.append(s @ q)
        weights = torch.stack(scores).softmax(0) if use_softmax else torch.stack(scores)
        h = torch.zeros(4)
        for s, a in zip(states, weights, strict=True):
            if gru_type in ("AGRU", "AUGRU"):
                h = attentional_step(module.evolution, s, h, a)
            else:
                h = gru_step(module.evolution, s * a if gru_type == "AIGRU" else s, h)
        torch.testing.assert_close(found[row], h)


def test_full_attention_makes_augru_a_gru() -> None:
    module, sequences, _, _ = evolved()
    own = module.evolution
    layer = nn.GRU(4, 4, batch_first=True)
    with torch.no_grad():
        for of, name in ((own.of_input, "ih"), (own.of_state, "hh")):
            for kind in ("weight", "bias"):
                reset, candidate, update = getattr(of, kind).split(4)
                # torch's gate is the share that is kept, ours the share that is replaced.
                theirs = torch.cat([reset, -update, candidate])
                getattr(layer, f"{kind}_{name}_l0").copy_(theirs)
    expected = layer(sequences)[1][0]
    torch.testing.assert_close(own(sequences, torch.ones(3, MAX_LEN)), expected)
    assert torch.all(own(sequences, torch.zeros(3, MAX_LEN)) == 0.0)


def test_later_behaviours_leave_earlier_interests_alone() -> None:
    module, sequences, targets, _ = evolved()
    mask = torch.ones(3, MAX_LEN, dtype=torch.bool)
    moved = sequences.clone()
    moved[:, 4:] += 5.0
    before, after = (module(s, targets, mask).interests for s in (sequences, moved))
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


def test_sum_pooling_joins_the_sum_and_its_product_with_the_target() -> None:
    module, sequences, targets, _ = evolved(sum_pooling=True)
    found = module(sequences, targets, up_to(3, 0, 6)).pooled
    total = torch.stack([sequences[0, :3].sum(0), torch.zeros(4), sequences[2].sum(0)])
    torch.testing.assert_close(found[:, 4:], torch.cat([total, targets * total], dim=1))
    assert module.output_dim == found.shape[1] == 12


def test_the_auxiliary_loss_follows_behaviours_across_padding() -> None:
    """The logit is (interest + following) / 2 for width 1; padding is 99 and must not enter."""
    network = nn.Linear(2, 1, bias=False)
    nn.init.constant_(network.weight, 0.5)
    mask = torch.tensor([[False, True, True], [True, False, True], [False, False, True]])
    order = torch.tensor([[1, 2, 0], [0, 2, 1], [2, 0, 1]])
    interests = torch.tensor([[1.0, 7.0, 0.0], [3.0, 7.0, 0.0], [5.0, 0.0, 0.0]])
    actual = torch.tensor([[99.0, 9.0, 3.0], [9.0, 99.0, -1.0], [99.0, 99.0, 9.0]])
    sampled = torch.tensor([[99.0, 9.0, -4.0], [9.0, 99.0, 99.0], [99.0, 99.0, 9.0]])
    known = torch.tensor([[False, True, True], [True, True, False], [False, False, True]])
    found = evolution.Evolution(interests, interests.unsqueeze(-1), order, mask.gather(1, order))
    loss = evolution.auxiliary_loss(
        network, found, actual.unsqueeze(-1), sampled.unsqueeze(-1), known
    )
    # Logits 2 and 1 with truth 1, logit -1.5 with truth 0; the second row's negative is missing.
    terms = [math.log1p(math.exp(-x)) for x in (2.0, 1.0, 1.5)]
    assert loss.item() == pytest.approx(sum(terms) / 3, rel=1e-6)
    nothing = evolution.Evolution(*(value[2:] for value in found))
    empty = evolution.auxiliary_loss(
        network, nothing, actual[2:].unsqueeze(-1), sampled[2:].unsqueeze(-1), known[2:]
    )
    assert empty.item() == 0.0


def test_unknown_recurrence_and_attention_are_refused_together() -> None:
    with pytest.raises(ConfigError) as caught:
        sequential("DIEN", gru_type="LSTM", attention_type="din")
    text = str(caught.value)
    assert "gru_type" in text and "'AUGRU'" in text and "'LSTM'" in text
    assert "attention_type" in text and "'din_attention'" in text
