"""Distillation from outside: the loss by hand, where its gradient goes, and where it attaches."""

from __future__ import annotations

import math
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fuxictr_loopfm.distillation.distiller import DistillationSpec, Distiller
from fuxictr_loopfm.distillation.term import TransferSpec
from fuxictr_loopfm.distillation.terms import AuxiliaryHead, AuxiliaryHeadLoss, scale_gradient
from fuxictr_loopfm.distillation.trunk import find_trunk
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.model import count_parameters
from tests.unit.host.hosted import WIDTH, batch, build, field, stand_in


def spec(kind: str, trunk: str | None = None, **options: float) -> DistillationSpec:
    return DistillationSpec((TransferSpec("kd", kind, options),), trunk)


AUX = spec("aux_head")
TRUNKS = {
    "Stacked": ("embedding_layer.embedding_layer", 4 * WIDTH),
    "Flattened": ("fc", 4 * WIDTH + 6),
    "DINLike": ("dnn.mlp.4", 6),
    "FieldAware": ("embedding_layers.0.embedding_layer", 4 * WIDTH),
}


def large(model: Any) -> Any:
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
    return model


def distilled(name: str, asked: DistillationSpec) -> tuple[Any, Distiller, dict[str, Any]]:
    model = large(build(name, logit=True))
    inputs = batch(model.feature_map)
    torch.manual_seed(1)
    return model, Distiller(model, asked, inputs), inputs


def loss_of(distiller: Distiller, logit: Tensor, returned: dict[str, Tensor]) -> Tensor:
    """The distillation loss alone, unweighted, as ``compute_loss`` adds it."""
    distiller._logit = logit
    ((_, term),) = distiller.terms
    loss: Tensor = term(distiller.step_of(returned, torch.zeros(len(logit))))
    return loss


def kd_loss(distiller: Distiller, inputs: dict[str, Any]) -> Tensor:
    return loss_of(distiller, inputs["teacher_logit"], distiller.model.forward(inputs))


def head_of(distiller: Distiller) -> AuxiliaryHead:
    ((_, term),) = distiller.terms
    assert isinstance(term, AuxiliaryHeadLoss)
    return term.head


def tables(model: Any) -> dict[str, nn.Embedding]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Embedding)}


def bce(probability: float, target: float) -> float:
    return -target * math.log(probability) - (1 - target) * math.log(1 - probability)


@pytest.mark.parametrize("name", TRUNKS)
def test_its_gradient_reaches_the_embeddings(name: str) -> None:
    model, distiller, inputs = distilled(name, AUX)
    kd_loss(distiller, inputs).backward()
    gradients = {n: table.weight.grad for n, table in tables(model).items()}
    learning = {n for n, grad in gradients.items() if grad is not None and grad.any()}
    trunk = distiller.trunk_path if name in ("Stacked", "FieldAware") else "embedding_layer"
    expected = {n for n in gradients if n.startswith(trunk) and not n.endswith("item_his")}
    assert learning == expected and len(expected) >= 3


@pytest.mark.parametrize("name", TRUNKS)
def test_a_gradient_scale_of_zero_trains_the_head_alone(name: str) -> None:
    model, distiller, inputs = distilled(name, spec("aux_head", gradient_scale=0.0))
    kd_loss(distiller, inputs).backward()
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())
    assert all(p.grad is not None and p.grad.any() for p in head_of(distiller).parameters())


def test_the_gradient_scale_is_a_factor_on_the_trunks_gradient_only() -> None:
    grads, heads = {}, {}
    for scale in (1.0, 0.25):
        model, distiller, inputs = distilled("Flattened", spec("aux_head", gradient_scale=scale))
        kd_loss(distiller, inputs).backward()
        grads[scale] = model.deep.mlp[0].weight.grad
        heads[scale] = head_of(distiller).layers[0].weight.grad
    torch.testing.assert_close(grads[0.25], 0.25 * grads[1.0])
    torch.testing.assert_close(heads[0.25], heads[1.0])
    value = torch.tensor([1.5, -2.0])
    assert torch.equal(scale_gradient(value, 0.3), value)


def test_the_single_head_loss_by_hand() -> None:
    model = build("Stacked", logit=True)
    distiller = Distiller(model, spec("single_head"), batch(model.feature_map))
    assert not list(distiller.terms[0][1].parameters())
    logit = torch.tensor([0.0, math.log(3.0)])  # probabilities 1/2 and 3/4
    loss = loss_of(distiller, logit, {"y_pred": torch.tensor([[0.2], [0.6]])})
    assert loss.item() == pytest.approx((bce(0.2, 0.5) + bce(0.6, 0.75)) / 2, rel=1e-6)


def test_the_label_scale_is_clipped_at_one() -> None:
    model = build("Stacked", logit=True)
    scaled = spec("single_head", label_scale=1.6)
    distiller = Distiller(model, scaled, batch(model.feature_map))
    logit = torch.tensor([0.0, math.log(3.0)])  # 0.8, and 1.2 clipped to 1
    loss = loss_of(distiller, logit, {"y_pred": torch.tensor([[0.2], [0.6]])})
    assert loss.item() == pytest.approx((bce(0.2, 0.8) + bce(0.6, 1.0)) / 2, rel=1e-6)


def test_the_auxiliary_head_by_hand() -> None:
    _, distiller, inputs = distilled("Flattened", spec("aux_head", label_scale=2.0))
    trunk: list[Tensor] = []
    model = distiller.model
    model.fc.register_forward_pre_hook(lambda _module, given: trunk.append(given[0]))
    found = kd_loss(distiller, inputs)
    logit = head_of(distiller)(trunk[0]).sigmoid().tolist()
    targets = [min(2.0 * p, 1.0) for p in inputs["teacher_logit"].sigmoid().tolist()]
    expected = sum(bce(p, t) for p, t in zip(logit, targets, strict=True)) / 6
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["aux_head", "single_head"])
def test_samples_that_were_not_logged_are_left_out(kind: str) -> None:
    _, distiller, inputs = distilled("Flattened", spec(kind))
    logged = torch.tensor([True, False, True, True, False, True])
    kept = {name: value[logged] for name, value in inputs.items()}
    expected = kd_loss(distiller, kept)
    inputs["teacher_logit"] = inputs["teacher_logit"].masked_fill(~logged, math.nan)
    found = kd_loss(distiller, inputs)
    torch.testing.assert_close(found, expected)
    found.backward()
    gradients = [p.grad for p in distiller.model.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(grad).all() for grad in gradients)


@pytest.mark.parametrize("kind", ["aux_head", "single_head"])
def test_a_batch_without_any_logged_sample_trains_as_without_distillation(kind: str) -> None:
    plain = large(build("Flattened", logit=True))
    model, _, inputs = distilled("Flattened", spec(kind))
    inputs["teacher_logit"] = torch.full((6,), math.nan)
    assert model.train_step(inputs).item() == plain.train_step(inputs).item()
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_the_loss_is_the_models_own_plus_the_weighted_distillation() -> None:
    plain = large(build("Flattened", logit=True, embedding_regularizer=0.1))
    own = plain.train_step(batch(plain.feature_map)).item()
    model = large(build("Flattened", logit=True, embedding_regularizer=0.1))
    inputs = batch(model.feature_map)
    torch.manual_seed(1)
    distiller = Distiller(model, spec("aux_head", weight=0.5), inputs)
    alone = kd_loss(distiller, inputs).item()
    assert model.train_step(inputs).item() == pytest.approx(own + 0.5 * alone, rel=1e-5)


def test_a_hint_beside_the_single_head_is_trained_too() -> None:
    model = large(build("Flattened", logit=True))
    # FuxiCTR keeps meta columns out of a model's inputs.
    model.feature_map.features["teacher_embedding"] = {"type": "meta", "source": ""}
    inputs = {**batch(model.feature_map), "teacher_embedding": torch.randn(6, 3)}
    transfers = (TransferSpec("kd", "single_head"), TransferSpec("hint", "fitnets"))
    distiller = Distiller(model, DistillationSpec(transfers), inputs)
    assert [weight for weight, _ in distiller.terms] == [1.0, 0.1]
    (regressor,) = distiller.terms[1][1].children()
    before = [parameter.clone() for parameter in regressor.parameters()]
    model.train_step(inputs)
    after = regressor.parameters()
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", TRUNKS)
def test_the_trunk_is_found(name: str) -> None:
    model = build(name)
    assert find_trunk(model, batch(model.feature_map), None) == TRUNKS[name]


def test_a_history_widens_the_trunk() -> None:
    model = build("Stacked", [field()])
    path, width = find_trunk(model, batch(model.feature_map), None)
    assert (path, width) == ("embedding_layer.embedding_layer", 5 * WIDTH)


@pytest.mark.parametrize(
    ("path", "width"),
    [("fc", 22), ("deep.mlp.1", 8), ("deep", 6), ("deep.mlp.2", 8), ("embedding_layer", 16)],
)
def test_a_trunk_may_be_named(path: str, width: int) -> None:
    """An activation's or a block's output; the input of a linear layer."""
    model, distiller, inputs = distilled("Flattened", spec("aux_head", trunk=path))
    assert (distiller.trunk_path, head_of(distiller).layers[0].in_features) == (path, width)
    assert torch.isfinite(model.train_step(inputs))


def test_wrong_trunks_are_refused() -> None:
    model = build("Flattened")
    model.spare = nn.Linear(2, 2)
    inputs = batch(model.feature_map)
    with pytest.raises(
        ConfigError, match=r"loopfm_kd_trunk: 'mlp' is no module.*; expected one of .*'fc'"
    ):
        find_trunk(model, inputs, "mlp")
    with pytest.raises(ConfigError, match="'spare' is not used by the model's forward"):
        find_trunk(model, inputs, "spare")


def test_a_model_without_any_trunk_is_refused() -> None:
    model = build("Stacked")
    del model.embedding_layer, model.first_order
    model.forward = lambda inputs: {"y_pred": inputs["price"].unsqueeze(1).sigmoid()}
    with pytest.raises(ConfigError, match="Stacked: found no trunk.* loopfm_kd: single_head"):
        find_trunk(model, batch(model.feature_map), None)


def test_finding_the_trunk_leaves_the_model_as_it_was() -> None:
    model = build("Flattened")
    model.deep.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    find_trunk(model, batch(model.feature_map), None)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_head_is_neither_saved_nor_counted_but_learns() -> None:
    plain = build("Flattened", logit=True)
    model, distiller, inputs = distilled("Flattened", AUX)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert count_parameters(model) == count_parameters(plain)
    before = [p.clone() for p in head_of(distiller).parameters()]
    model.train_step(inputs)
    after = head_of(distiller).parameters()
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_the_served_model_predicts_without_teacher_logits() -> None:
    model, _, inputs = distilled("Flattened", AUX)
    model.train_step(inputs)
    model.eval()
    expected = model(inputs)["y_pred"]
    served = {name: value for name, value in inputs.items() if name != "teacher_logit"}
    assert torch.equal(model(served)["y_pred"], expected)
    fresh = stand_in("Flattened")(model.feature_map, **{**PLAIN, "model_id": "served"})
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.eval()(served)["y_pred"], expected)


PLAIN = {
    "embedding_dim": WIDTH,
    "hidden_units": [8, 6],
    "optimizer": "adam",
    "loss": "binary_crossentropy",
    "metrics": ["AUC"],
    "verbose": 0,
    "model_root": "unused",
}


def test_a_train_step_that_skips_compute_loss_is_refused() -> None:
    model = build("Flattened", logit=True)
    model.train_step = MethodType(lambda _, inputs: torch.zeros(()), model)
    inputs = batch(model.feature_map)
    Distiller(model, AUX, inputs)
    with pytest.raises(ConfigError, match="Flattened does not call compute_loss .*loopfm_kd: none"):
        model.train_step(inputs)


def test_the_head_has_one_hidden_layer_of_the_trunks_width() -> None:
    head = AuxiliaryHead(5)
    assert [tuple(p.shape) for p in head.parameters()] == [(5, 5), (5,), (1, 5), (1,)]
    assert head(torch.ones(3, 5)).shape == (3,)
