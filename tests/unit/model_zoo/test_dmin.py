"""DMIN's interests equal loops over heads and behaviours; its refiner sees what it may."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from zoo_models import MAX_LEN, batch, group, part, predict, scattered, sequential, up_to

from fuxictr_loopfm.host.sequence_model import ScoreSettings
from fuxictr_loopfm.layers.packing import Packing

interests = part("DMIN", "interests")


def settings_of_interests(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "num_heads": 2, "net_dropout": 0.0, "layer_norm": True, "pos_emb_dim": 3,
        "scores": ScoreSettings((6,), "ReLU", 0.0), "legacy_mask": False,
    }  # fmt: skip
    return interests.InterestSettings(**values | changes)


def test_interests_and_their_gradients_equal_loops_over_heads_and_behaviours() -> None:
    torch.manual_seed(0)
    width, heads = 4, 2
    module = scattered(
        interests.InterestExtractor(
            group(width), settings_of_interests(), refine=False, sum_pooling=True
        )
    )
    lengths = (3, 1, 6)
    sequences, target = torch.randn(3, MAX_LEN, width), torch.randn(3, width)
    found, _ = module(sequences, target, Packing(up_to(*lengths)))
    parameters = list(module.parameters())
    gradients = torch.autograd.grad(found.square().sum(), parameters)
    rows = []
    for row, length in enumerate(lengths):
        events = sequences[row, :length]
        query, key, value = module.attention.qkv(events).chunk(3, dim=-1)
        pooled = []
        for h, head in enumerate(module.heads):
            part = slice(h * width // heads, (h + 1) * width // heads)
            seen, scores = [], []
            for j in range(length):
                weight = (key[: j + 1, part] @ query[j, part] / math.sqrt(width / heads)).softmax(0)
                x = head.feed_forward.norm(head.output(weight @ value[: j + 1, part]) + events[j])
                x = x + head.feed_forward.narrow(head.feed_forward.widen(x).relu())
                q = head.placed_target(torch.cat([target[row], head.position.weight[j]]))
                scores.append(head.attention(torch.cat([q, x, q - x, q * x])))
                seen.append(x)
            pooled.append(torch.cat(scores).softmax(0) @ torch.stack(seen))
        total = events.sum(dim=0)
        rows.append(torch.cat([*pooled, total, target[row] * total]))
    expected = torch.stack(rows)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(expected.square().sum(), parameters), rtol=1e-4, atol=1e-4
    )


def refiner(legacy: bool) -> nn.Module:
    torch.manual_seed(0)
    settings = settings_of_interests(legacy_mask=legacy)
    module: nn.Module = interests.BehaviorRefiner(4, settings).eval()
    return module


def test_refiner_never_looks_at_padding_or_ahead() -> None:
    behaviours = torch.randn(4, 4)
    full, padded = Packing(torch.ones(1, 4).bool()), Packing(up_to(4))
    moved = behaviours.clone()
    moved[3] += 10.0
    for legacy in (False, True):
        module = refiner(legacy)
        expected = module(behaviours, full)
        for found in (module(behaviours, padded), module(moved, full)):
            difference = (found - expected)[:3].abs().max().item()
            # The legacy mask is known to leak: that it does is what makes it worth a switch.
            assert difference > 1e-3 if legacy else difference == 0.0


@pytest.mark.parametrize("legacy", [False, True])
def test_refiner_equals_torchs_attention_under_both_kinds_of_mask(legacy: bool) -> None:
    """A boolean mask excludes; FuxiCTR's float mask of ones is added to the scores."""
    module, mask = refiner(legacy), up_to(4, 6)
    inputs = torch.randn(2, MAX_LEN, 4) * mask.unsqueeze(-1)
    allowed, packing = interests.causal_mask(mask), Packing(mask)
    host = nn.MultiheadAttention(4, 2, batch_first=True)
    host.in_proj_weight, host.in_proj_bias = module.attention.qkv.weight, module.attention.qkv.bias
    host.out_proj.weight, host.out_proj.bias = module.output.weight, module.output.bias
    forbidden = ~allowed.expand(-1, 2, -1, -1).flatten(0, 1)
    attended, _ = host(inputs, inputs, inputs, attn_mask=forbidden.float() if legacy else forbidden)
    expected = module.feed_forward(inputs, attended)[mask]
    torch.testing.assert_close(module(inputs[mask], packing), expected)


def test_legacy_mask_reaches_the_refiner() -> None:
    honest, legacy = sequential("DMIN"), sequential("DMIN", legacy_mask=True)
    legacy.load_state_dict(honest.state_dict())
    assert torch.all(predict(honest, batch())[3] != predict(legacy, batch())[3])
