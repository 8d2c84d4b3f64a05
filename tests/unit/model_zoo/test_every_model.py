"""What holds for every model of the zoo, and for every one with behaviour sequences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo_models import (
    AUXILIARY,
    DIM,
    FEATURES,
    ITEMS,
    MAX_LEN,
    MODELS,
    NEGATIVES,
    PLAIN,
    SAMPLED,
    SEQUENCES,
    SEQUENTIAL,
    VARIANTS,
    any_model,
    batch,
    build,
    plain_batch,
    predict,
    sequential,
    with_negatives,
)

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.extraction.model_parts import hidden_paths
from fuxictr_loopfm.host.shared_history import HistoryField, HistoryProjection
from fuxictr_loopfm.layers.base import EncoderSpec
from fuxictr_loopfm.layers.batch import PaddedHistory

AVERAGE = "layers.MaskedAveragePooling()"
every_variant = pytest.mark.parametrize(("model", "changes"), VARIANTS)
every_sequence_model = pytest.mark.parametrize("model", sorted(SEQUENTIAL))


def test_the_apparatus_knows_every_model() -> None:
    assert {"FM", "FmFM", "DeepFM", *SEQUENTIAL} == set(MODELS)


@every_variant
def test_padding_changes_nothing(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes)
    expected = predict(built, batch())
    assert expected.shape == (4, 1)
    torch.testing.assert_close(predict(built, batch(side="pre")), expected)
    first = {k: v[:1] for k, v in batch().items()}
    shorter = first | {k: first[k][:, :3] for k in SEQUENCES}
    torch.testing.assert_close(predict(built, shorter), expected[:1])
    gaps = first | {k: first[k][:, [4, 0, 5, 1, 2, 3]] for k in SEQUENCES}
    torch.testing.assert_close(predict(built, gaps), expected[:1])
    for layer in built.embedding_layer.embedding_layers.values():
        if isinstance(layer, nn.Embedding):
            layer.weight.data[0] = 100.0
    torch.testing.assert_close(predict(built, batch(side="pre")), expected)


@every_variant
def test_every_field_and_the_order_of_behaviours_matter(
    model: str, changes: dict[str, Any]
) -> None:
    built = sequential(model, **changes)
    expected = predict(built, batch())
    for name in FEATURES:
        moved = batch()
        moved[name] = torch.where(moved[name] != 0, moved[name] % 3 + 1, 0)
        assert not torch.allclose(predict(built, moved), expected, atol=1e-5), name
    turned = batch() | {name: batch()[name].flip(1) for name in SEQUENCES}
    same = torch.allclose(predict(built, turned)[3], expected[3], atol=1e-6)
    assert same == (model == "DIN"), "DIN alone takes behaviours as a set"


@every_variant
def test_an_empty_history_adds_zeros_to_the_trunk(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes)
    seen: list[Tensor] = []
    built.dnn.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    predict(built, batch())
    kept = DIM * len(PLAIN)
    assert torch.all(seen[0][1, kept:] == 0.0)
    assert torch.all((seen[0][[0, 2, 3], kept:] != 0.0).any(dim=1))


@every_variant
def test_training_on_empty_histories_stays_finite(model: str, changes: dict[str, Any]) -> None:
    built = sequential(model, **changes).train()
    inputs = batch() | {name: torch.zeros(4, MAX_LEN, dtype=torch.int64) for name in SEQUENCES}
    result = built(inputs)
    built.compute_loss(result, built.get_labels(inputs)).backward()
    assert torch.isfinite(result["y_pred"]).all()
    assert all(torch.isfinite(p.grad).all() for p in built.parameters() if p.grad is not None)


@every_sequence_model
@pytest.mark.parametrize("fields", [None, []])
def test_sequence_models_work_without_sequences(model: str, fields: list[str] | None) -> None:
    keys = [key for key in SEQUENTIAL[model] if key.endswith("_field")]
    built = build(model, PLAIN, **SEQUENTIAL[model] | dict.fromkeys(keys, fields))
    inputs = plain_batch()
    result = built(inputs)
    built.compute_loss(result, built.get_labels(inputs)).backward()
    assert result["y_pred"].shape == (4, 1)
    assert all(p.grad is not None for p in built.parameters())


@every_sequence_model
def test_an_extra_field_flows_into_the_trunk(model: str) -> None:
    extra = {"type": "embedding", "pretrain_dim": 3}
    plain = build(model, FEATURES, **SEQUENTIAL[model])
    built = build(model, {**FEATURES, "loop": extra}, **SEQUENTIAL[model]).eval()
    assert built.dnn.mlp[0].in_features == plain.dnn.mlp[0].in_features + DIM
    inputs = batch() | {"loop": torch.randn(4, 3)}
    moved = inputs | {"loop": inputs["loop"] + 1}
    assert torch.all(predict(built, inputs) != predict(built, moved))


def history_field() -> HistoryField:
    return HistoryField(
        name="loopfm_history", columns=("embedding",), embedding_dim=3, id_columns=(),
        query_columns=("item",), encoder=EncoderSpec("din", dim=8, max_len=4),
    )  # fmt: skip


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_history_of_the_host_is_learned_from(model: str) -> None:
    built, inputs = any_model(model, [history_field()])
    projections = [m for m in built.modules() if isinstance(m, HistoryProjection)]
    # Stacked fields and first-order weights are two embedding layers, each with a field.
    assert len(projections) == (1 if model in SEQUENTIAL else 2)
    for module in projections:
        nn.init.normal_(module.projection.weight)
    mask = torch.tensor([[False] * 4, [True] * 4, [False, False, True, True], [False] * 4])
    values = torch.randn(4, 4, 3) * mask.unsqueeze(-1)

    def given(embedding: Tensor) -> dict[str, Any]:
        history = PaddedHistory(mask=mask, embedding=embedding, label=None, log_age=None, ids={})
        return inputs | {"loopfm_history": history}

    changed = predict(built, given(values)) != predict(built, given(-values))
    assert changed.squeeze(1).tolist() == [False, True, True, False]
    built.compute_loss(built(given(values)), built.get_labels(inputs)).backward()
    assert all(m.projection.weight.grad.abs().max() > 0 for m in projections)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_order_of_the_columns_does_not_matter(model: str) -> None:
    """Train and test loaders may deliver their columns in different orders."""
    built, inputs = any_model(model)
    backward = dict(reversed(inputs.items()))
    torch.testing.assert_close(predict(built, backward), predict(built, inputs))


@every_sequence_model
def test_taps_find_the_trunk(model: str) -> None:
    """A score network wider than the trunk must not pass for it."""
    changes = {"attention_hidden_units": [64, 32], "dnn_hidden_units": [8, 6]}
    built = sequential(model, **changes, dnn_activations="ReLU")
    assert hidden_paths(built) == ["dnn.mlp.1", "dnn.mlp.3"]


@pytest.mark.parametrize(
    ("model", "changes"), [VARIANTS[0], VARIANTS[2], VARIANTS[3], VARIANTS[6], VARIANTS[9]]
)
def test_a_model_learns_that_the_target_was_seen_before(
    model: str, changes: dict[str, Any]
) -> None:
    generator = torch.Generator().manual_seed(0)
    items = torch.randint(1, ITEMS, (256, MAX_LEN), generator=generator)
    items[torch.rand(256, MAX_LEN, generator=generator) < 0.4] = 0
    target = torch.randint(1, ITEMS, (256,), generator=generator)
    seen = (items == target.unsqueeze(1)).any(dim=1)
    inputs = {
        "user": torch.ones(256, dtype=torch.int64), "item": target, "cate": target,
        "price": torch.zeros(256), "item_his": items, "cate_his": items, "clk": seen.float(),
    }  # fmt: skip
    wider = {"attention_hidden_units": [32], "dnn_hidden_units": [32]}
    built = sequential(model, learning_rate=1e-2, **wider, **changes).train()
    built._max_gradient_norm = 10.0
    losses = [built.train_step(inputs).item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("model", sorted(AUXILIARY))
def test_an_auxiliary_loss_is_added_with_its_weight_while_training(model: str) -> None:
    weight, negatives = AUXILIARY[model]
    # Dice behaves differently while training.
    settings = SEQUENTIAL[model] | {"attention_activation": "ReLU", "dnn_activations": "ReLU"}
    plain = build(model, FEATURES, **settings)
    built = build(model, FEATURES | NEGATIVES, **settings, **{negatives: SAMPLED, weight: 0.3})
    assert built.dnn.mlp[0].in_features == plain.dnn.mlp[0].in_features
    inputs = with_negatives()
    labels = built.get_labels(inputs)
    trained, served = built.train()(inputs), built.eval()(inputs)
    torch.testing.assert_close(trained["y_pred"], served["y_pred"])
    assert trained["aux_loss"] > 0 and "aux_loss" not in served
    added = built.add_loss(trained, labels) - built.add_loss(served, labels)
    torch.testing.assert_close(added, 0.3 * trained["aux_loss"])
    added.backward()
    learned = built.output_tables if model == "DMR" else built.aux_net
    assert all(p.grad is not None for p in learned.parameters())
    # The first three histories are short, so that rolling them moves padding only.
    short = {k: v[:3] for k, v in inputs.items()}
    moved = {k: v.roll(1, dims=1) if v.dim() == 2 else v for k, v in short.items()}
    losses = [built.train()(rows)["aux_loss"] for rows in (short, moved)]
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("model", sorted(AUXILIARY))
def test_negatives_without_a_weight_change_nothing(model: str) -> None:
    _, negatives = AUXILIARY[model]
    built = build(model, FEATURES | NEGATIVES, **SEQUENTIAL[model], **{negatives: SAMPLED}).train()
    assert "aux_loss" not in built(with_negatives())


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("DIEN", {"aux_loss_alpha": 0.1}, r"aux_loss_alpha: .*'item_his'.*dien_neg_seq_field"),
        ("DMIN", {"aux_loss_lambda": 0.1}, r"aux_loss_lambda: .*'item_his'.* neg_seq_field"),
        ("DMR", {"aux_loss_beta": 0.1}, r"aux_loss_beta: .*\('item', 'cate'\), found \(\)"),
        ("DMR", {"aux_loss_beta": 0.1, "enable_u2i_rel": False}, "needs enable_u2i_rel: True"),
        ("DIN", {"din_target_field": ("itme", "cate")}, "field 'itme': no such feature"),
        ("DIEN", {"dien_target_field": ("itme", "cate")}, "field 'itme': no such feature"),
        ("DMIN", {"target_field": ("itme", "cate")}, "field 'itme': no such feature"),
        ("DMR", {"target_field": ("itme", "cate")}, "field 'itme': no such feature"),
        ("DMIN", {"num_heads": 3}, r"divisor of .* 8, found 3"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    model: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        sequential(model, **changes)


@every_sequence_model
def test_pooled_sequences_are_refused_with_the_remedy(model: str) -> None:
    features = FEATURES | {"item_his": FEATURES["item_his"] | {"feature_encoder": AVERAGE}}
    built = build(model, features, **SEQUENTIAL[model])
    with pytest.raises(ConfigError, match=r"\['item_his'\].*feature_encoder: null"):
        built(batch())
