"""FM, FmFM and DeepFM equal their formulas, pair of fields by pair of fields."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from zoo_models import (
    DIM,
    HOST_PARAMS,
    MODELS,
    PLAIN,
    build,
    feature_map,
    plain_batch,
    predict,
    scattered,
)

from fuxictr_loopfm.errors import ConfigError


def model_of(name: str, **settings: Any) -> Any:
    return scattered(build(name, PLAIN, **settings), std=0.5)


def loop_over_pairs(built: Any, lr_layer: Any, product: Any, deep: Any = None) -> Tensor:
    """Prediction of a factorization machine, pair by pair; ``product(i, j, v_i, v_j)``."""
    inputs = plain_batch()
    tables = built.embedding_layer.embedding_layer.embedding_layers
    scalars = lr_layer.embedding_layer.embedding_layer.embedding_layers
    expected = []
    for row in range(4):
        value = {k: v[row : row + 1] if k == "price" else v[row] for k, v in inputs.items()}
        fields = [tables[name](value[name]) for name in PLAIN]
        logit = lr_layer.bias + sum(scalars[name](value[name]) for name in PLAIN)
        for i in range(len(fields)):
            for j in range(i + 1, len(fields)):
                logit = logit + product(i, j, fields[i], fields[j])
        if deep is not None:
            logit = logit + deep(torch.cat(fields))
        expected.append(torch.sigmoid(logit))
    return torch.stack(expected).detach()


@pytest.mark.parametrize(("name", "settings"), [("FM", {}), ("DeepFM", {"hidden_units": [3]})])
def test_first_order_and_pairs_are_added(name: str, settings: dict[str, Any]) -> None:
    built = model_of(name, **settings)
    deep = getattr(built, "mlp", None)
    expected = loop_over_pairs(built, built.fm.lr_layer, lambda i, j, a, b: a @ b, deep)
    torch.testing.assert_close(predict(built, plain_batch()), expected)


@pytest.mark.parametrize("interaction", ["matrixed", "vectorized"])
def test_fmfm_weighs_each_pair_of_fields_by_itself(interaction: str) -> None:
    built = model_of("FmFM", field_interaction_type=interaction)
    weight = iter(built.pairs.weight.repeat(4, *[1] * (built.pairs.weight.dim() - 1)))

    def product(_i: int, _j: int, left: Tensor, right: Tensor) -> Tensor:
        of_pair = next(weight)
        return left @ (of_pair if interaction == "matrixed" else torch.diag(of_pair)) @ right

    expected = loop_over_pairs(built, built.lr_layer, product)
    torch.testing.assert_close(predict(built, plain_batch()), expected)
    assert next(weight, None) is None


@pytest.mark.parametrize("name", ["FM", "FmFM"])
def test_one_regularizer_covers_every_weight(name: str) -> None:
    built = model_of(name, regularizer=0.1)
    inputs = plain_batch()
    labels, result = built.get_labels(inputs), built(inputs)
    added = built.compute_loss(result, labels) - built.add_loss(result, labels)
    total = sum(p.square().sum() for p in built.parameters())
    torch.testing.assert_close(added, 0.05 * total)


def test_deepfm_trains_every_weight() -> None:
    built = build("DeepFM", PLAIN)
    inputs = plain_batch()
    built.compute_loss(built(inputs), built.get_labels(inputs)).backward()
    assert all(p.grad is not None for p in built.parameters())


def test_fmfm_counts_the_fields_that_are_left() -> None:
    """FuxiCTR counts ``num_fields`` before it applies ``use_features``."""
    shapes = feature_map(PLAIN)
    shapes.num_fields = 17
    built = MODELS["FmFM"](shapes, **HOST_PARAMS)
    assert built.pairs.weight.shape == (6, DIM, DIM)
    assert predict(built, plain_batch()).shape == (4, 1)


def test_an_unknown_interaction_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"field_interaction_type: .*'matrixed'.*found 'matrix'"):
        build("FmFM", PLAIN, field_interaction_type="matrix")
