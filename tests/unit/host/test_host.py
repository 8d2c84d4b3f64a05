"""A history inside models that know nothing of it: stand-ins for each style of embedding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fuxictr.pytorch.layers import FeatureEmbedding, FeatureEmbeddingDict, LogisticRegression
from fuxictr.pytorch.models import BaseModel
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host import history_fields
from fuxictr_loopfm.host.model_failures import explained_failures, remember_fields
from fuxictr_loopfm.host.shared_history import SharedHistory
from fuxictr_loopfm.host.trainer import predict, train_epochs
from fuxictr_loopfm.layers.base import EncoderSpec
from fuxictr_loopfm.layers.registry import ENCODERS
from tests.unit.host.hosted import (
    HISTORY,
    PARAMS,
    WIDTH,
    batch,
    build,
    field,
    projections,
    stand_in,
    tiny_map,
)

FITTING = ("Stacked", "Flattened", "DINLike", "FieldAware")


def without_history(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same samples with nothing in their past."""
    empty = inputs[HISTORY].to("cpu")
    empty.mask = torch.zeros_like(empty.mask)
    return {**inputs, HISTORY: empty}


def enlarge(model: Any) -> None:
    """Fields start tiny on purpose; tests of what flows need numbers that float32 can see."""
    for layer in projections(model):
        nn.init.normal_(layer.projection.weight, std=0.5)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)


def test_a_history_counts_as_one_field() -> None:
    plain, with_history = tiny_map(), tiny_map([field()])
    assert plain.num_fields == 4 and plain.sum_emb_out_dim() == 4 * WIDTH
    assert with_history.num_fields == 5 and with_history.sum_emb_out_dim() == 5 * WIDTH
    assert list(with_history.features)[-1] == HISTORY


def test_only_the_wanted_histories_stay_in_the_feature_map() -> None:
    feature_map = tiny_map([field(), field(name="other")])
    feature_map.features["other"]["embedding_dim"] = 9
    assert feature_map.sum_emb_out_dim() == 5 * WIDTH + 9
    history_fields.prepare_feature_map(feature_map, [field(name="other")], with_teacher_logit=True)
    kinds = {name: spec["type"] for name, spec in feature_map.features.items()}
    assert HISTORY not in kinds and kinds["other"] == history_fields.SEQUENCE_TYPE
    assert kinds[history_fields.TEACHER_LOGIT] == "meta"
    assert feature_map.num_fields == 5 and feature_map.sum_emb_out_dim() == 4 * WIDTH + 9


@pytest.mark.parametrize("name", FITTING)
def test_the_past_changes_the_prediction(name: str) -> None:
    model = build(name, [field()]).eval()
    enlarge(model)
    inputs = batch(model.feature_map)
    before = model(inputs)["y_pred"].squeeze()
    after = model(without_history(inputs))["y_pred"].squeeze()
    had_events = inputs[HISTORY].mask.any(dim=1)
    assert torch.equal(before != after, had_events)
    assert torch.equal(model(inputs)["y_pred"].squeeze(), before)


@pytest.mark.parametrize("name", FITTING)
def test_every_part_of_the_history_learns(name: str) -> None:
    columns = ("embedding", "label", "log_age", "ids")
    model = build(name, [field(columns=columns, id_columns=("item",))])
    enlarge(model)
    model.train_step(batch(model.feature_map))
    encoder = model.loopfm_histories[HISTORY].encoder
    unmoved = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert unmoved == []
    still = [layer for layer in projections(model) if not layer.projection.weight.grad.any()]
    # A field-aware model never uses what a field would keep for itself.
    assert len(still) == (1 if name == "FieldAware" else 0)


def test_the_field_is_the_projected_pooled_vector_in_the_place_of_the_feature() -> None:
    model = build("Stacked", [field()]).eval()
    enlarge(model)
    inputs = model.get_inputs(batch(model.feature_map))
    fields = model.embedding_layer(inputs)
    shared = model.loopfm_histories[HISTORY]
    table = model.embedding_layer.embedding_layer.embedding_layers["item"]
    query = table(inputs["item"])
    pooled = shared.encoder(inputs[HISTORY].ragged(), {}, query)
    assert fields.shape == (6, 5, WIDTH)
    expected = pooled @ shared.projections[0].projection.weight.T
    torch.testing.assert_close(fields[:, -1], expected)
    assert not fields[0, -1].any(), "the first sample has no past"


def test_first_order_layers_get_a_scalar_of_their_own() -> None:
    model = build("Stacked", [field()]).eval()
    enlarge(model)
    inputs = model.get_inputs(batch(model.feature_map))
    first_order = model.first_order.embedding_layer.embedding_layer
    scalar = first_order.feature_encoders[HISTORY]
    assert [layer.projection.out_features for layer in projections(model)] == [WIDTH, 1]
    before = model.first_order(inputs)
    weight = first_order(inputs)[HISTORY]
    assert weight.shape == (6, 1) and weight[1:4].all()
    nn.init.zeros_(scalar.projection.weight)
    torch.testing.assert_close(before - model.first_order(inputs), weight)


def test_an_ordinary_layer_of_width_one_may_own_the_encoder() -> None:
    feature_map = tiny_map([field()])
    feature_map.default_emb_dim = 1
    shared = {HISTORY: SharedHistory(field(), feature_map)}
    with history_fields.histories_for_model(shared):
        layer = FeatureEmbedding(feature_map, 1)
    assert shared[HISTORY].owner is layer.embedding_layer


def test_a_feature_may_have_a_width_of_its_own() -> None:
    feature_map = tiny_map([field()])
    feature_map.features[HISTORY]["embedding_dim"] = 9
    model, _ = history_fields.build_model(stand_in("Flattened"), feature_map, PARAMS, [field()])
    assert model.fc.in_features == 4 * WIDTH + 9 + 6
    assert model(batch(feature_map))["y_pred"].shape == (6, 1)
    model, _ = history_fields.build_model(stand_in("FieldAware"), feature_map, PARAMS, [field()])
    assert [p.projection.out_features for p in projections(model)] == [1, 9, 9, 9, 9, 9]


@pytest.mark.parametrize("name", FITTING)
def test_the_regulariser_sees_every_embedding_parameter_once(name: str) -> None:
    model = build(name, [field()], embedding_regularizer=0.1, net_regularizer=0.01)
    enlarge(model)
    layers = [m for m in model.modules() if type(m) is FeatureEmbeddingDict]
    embedding = {id(p): p for layer in layers for p in layer.parameters()}
    encoder = {id(p) for p in model.loopfm_histories[HISTORY].encoder.parameters()}
    scalars = {id(layer.projection.weight) for layer in projections(model)}
    assert encoder | scalars <= set(embedding)
    rest = [p for p in model.parameters() if id(p) not in embedding]
    expected = 0.05 * sum(float((p.detach() ** 2).sum()) for p in embedding.values())
    expected += 0.005 * sum(float((p.detach() ** 2).sum()) for p in rest)
    assert model.regularization_loss().item() == pytest.approx(expected, rel=1e-5)


def test_one_encoder_serves_every_layer_and_runs_once_per_batch() -> None:
    model = build("FieldAware", [field()])
    encoder = model.loopfm_histories[HISTORY].encoder
    calls: list[Tensor] = []
    encoder.register_forward_hook(lambda _module, _inputs, output: calls.append(output))
    inputs = batch(model.feature_map)
    model.train_step(inputs)
    assert len(projections(model)) == 6 and len(calls) == 1
    model.train_step(inputs)
    assert len(calls) == 2, "the second batch must not reuse what the first one pooled"
    names = [name for name in model.state_dict() if ".encoder." in name]
    assert len(names) == len(encoder.state_dict())


def test_past_ids_are_embedded_by_the_models_own_tables() -> None:
    rule = field(
        columns=("ids",), id_columns=("item",), encoder=EncoderSpec("mean", 8), query_columns=()
    )
    model = build("Stacked", [rule])
    enlarge(model)
    inputs = batch(model.feature_map)
    inputs["item"] = torch.full((6,), 2)
    past = torch.tensor([0, 5, 5, 5])
    inputs[HISTORY].ids["item"] = past.expand(6, 4) * inputs[HISTORY].mask
    model.train_step(inputs)
    table = model.embedding_layer.embedding_layer.embedding_layers["item"].weight
    assert table.grad is not None
    assert table.grad.any(dim=1).nonzero().flatten().tolist() == [2, 5]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_fits(encoder: str) -> None:
    columns = ("item", "user") if ENCODERS[encoder].uses_query else ()
    model = build("Flattened", [field(encoder=EncoderSpec(encoder, 8, 4), query_columns=columns)])
    loss = model.train_step(batch(model.feature_map))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_two_histories_are_two_fields() -> None:
    both = [
        field(),
        field(name="by_item", columns=("embedding", "label"), encoder=EncoderSpec("mean", 8)),
    ]
    model = build("Stacked", both).eval()
    enlarge(model)
    inputs = batch(model.feature_map)
    before = model(inputs)["y_pred"]
    swapped = inputs["by_item"]
    swapped.label = (3 - swapped.label) * swapped.mask
    assert model.feature_map.num_fields == 6
    assert not torch.equal(model(inputs)["y_pred"], before)


class LinearOnly(BaseModel):
    """First-order weights and nothing else."""

    def __init__(self, feature_map: Any, **kwargs: Any) -> None:
        super().__init__(feature_map, **kwargs)
        self.first_order = LogisticRegression(feature_map)


@pytest.mark.parametrize(
    ("model_class", "message"),
    [
        (
            stand_in("OwnTables"),
            "OwnTables cannot take a history field: .* KeyError: 'vocab_size'.*FeatureEmbedding",
        ),
        (
            LinearOnly,
            "LinearOnly cannot take the history field 'loopfm_history'.*wider than 1.*item",
        ),
    ],
)
def test_a_model_that_cannot_hold_the_field_is_refused(model_class: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        history_fields.build_model(model_class, tiny_map([field()]), PARAMS, [field()])
    history_fields.build_model(model_class, tiny_map(), PARAMS)


class WithoutItems(BaseModel):
    """One embedding layer that holds users and the history only."""

    def __init__(self, feature_map: Any, **kwargs: Any) -> None:
        super().__init__(feature_map, **kwargs)
        columns = ["user", HISTORY]
        self.layer = FeatureEmbedding(feature_map, WIDTH, required_feature_columns=columns)


def test_the_encoder_needs_a_layer_with_its_query_tables() -> None:
    by_user = field(query_columns=("user",))
    model, _ = history_fields.build_model(WithoutItems, tiny_map([by_user]), PARAMS, [by_user])
    assert len(projections(model)) == 1
    with pytest.raises(ConfigError, match=r"with tables for \['item'\]"):
        history_fields.build_model(WithoutItems, tiny_map([field()]), PARAMS, [field()])


@pytest.mark.parametrize("regularizer", [0.1, None])
def test_a_model_that_never_reads_the_field_is_refused(regularizer: float | None) -> None:
    model = build("PickyModel", [field()], embedding_regularizer=regularizer)
    model.train_step(batch(model.feature_map))
    with pytest.raises(ConfigError, match="PickyModel builds .*'loopfm_history'.* never uses it"):
        history_fields.check_histories_learn(model, model.loopfm_histories)
    model = build("Flattened", [field()], embedding_regularizer=regularizer)
    model.train_step(batch(model.feature_map))
    history_fields.check_histories_learn(model, model.loopfm_histories)


@pytest.mark.parametrize("key", ["id_columns", "query_columns"])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("itm", "history column 'itm' is no feature of tiny.*'item'"),
        ("price", "history column 'price' of tiny: expected a categorical .* found numeric"),
    ],
)
def test_columns_without_a_table_are_named(key: str, column: str, message: str) -> None:
    wrong = field(columns=("ids",), **{"id_columns": ("item",), key: (column,)})
    with pytest.raises(ConfigError, match=message):
        history_fields.build_model(stand_in("Flattened"), tiny_map([wrong]), PARAMS, [wrong])


def test_tables_may_be_wider_than_the_models_embedding_dim() -> None:
    rule = field(columns=("embedding", "ids"), id_columns=("item",))
    feature_map = tiny_map([rule])
    shared = {HISTORY: SharedHistory(rule, feature_map)}
    with history_fields.histories_for_model(shared):
        first_order = LogisticRegression(feature_map)
        wide = FeatureEmbedding(feature_map, 3 * WIDTH)
    inputs = {n: v for n, v in batch(feature_map).items() if n != "click"}
    assert wide(inputs).shape == (6, 5, 3 * WIDTH)
    assert first_order(inputs).shape == (6, 1)


def test_a_query_column_that_the_model_withholds_is_named() -> None:
    model = build("Stacked", [field()])
    inputs = model.get_inputs(batch(model.feature_map))
    del inputs["item"]
    with pytest.raises(ConfigError, match=r"loopfm_query_columns: .* no \['item'\]; found .*user"):
        model.embedding_layer.embedding_layer(inputs)


def test_a_failing_constructor_is_reported_without_blaming_the_history() -> None:
    params = {name: value for name, value in PARAMS.items() if name != "optimizer"}
    with pytest.raises(ConfigError) as caught:
        history_fields.build_model(stand_in("Stacked"), tiny_map(), params)
    assert "constructor takes, found KeyError: 'optimizer'" in str(caught.value)
    assert "history" not in str(caught.value)


def test_a_first_order_model_holds_an_encoder_that_reads_no_tables() -> None:
    mean = field(query_columns=(), encoder=EncoderSpec("mean", dim=8, max_len=4))
    model = build("FirstOrder", [mean])
    (projection,) = projections(model)
    assert projection.projection.weight.shape == (1, 8) and projection.encoder is not None
    optimised = {id(p) for group in model.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in projection.encoder.parameters()} <= optimised
    model.train_step(batch(model.feature_map))
    history_fields.check_histories_learn(model, model.loopfm_histories)
    with pytest.raises(ConfigError, match="FirstOrder cannot .*loopfm_encoder: mean"):
        build("FirstOrder", [field()])


def test_a_wider_layer_is_preferred_where_the_model_builds_the_first_order_one_before() -> None:
    mean = field(query_columns=(), encoder=EncoderSpec("mean", dim=8, max_len=4))
    model = build("Stacked", [mean])
    owners = [p for p in projections(model) if hasattr(p, "encoder")]
    assert [p.projection.out_features for p in owners] == [WIDTH]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sequence_item_field": None}, r"sequence_item_field is null \(sequences there: none\)"),
        ({"sequence_item_field": "clicks"}, "names 'clicks', which is no feature"),
        ({"sequence_item_field": "hour"}, "names 'hour', a categorical feature and no sequence"),
    ],
)
def test_a_constructor_that_misses_a_sequence_says_so(fields: Any, message: str) -> None:
    for histories in ([], [field()]):
        with pytest.raises(ConfigError, match=message) as caught:
            build("BehaviourReader", histories, target_item_field="item", **fields)
        assert str(caught.value).startswith(
            "model BehaviourReader: its constructor raised KeyError"
        )
        assert "loopfm_own_sequences: true" in str(caught.value)


def test_a_model_that_fails_on_a_batch_is_one_message() -> None:
    model = build("DINLike", din_target_field=["itm"])
    remember_fields(model, {**PARAMS, "din_target_field": ["itm"]})
    with pytest.raises(ConfigError, match="din_target_field names 'itm', which is no feature"):
        train_epochs(model, [batch(model.feature_map)], epochs=1)
    with pytest.raises(ConfigError, match="model DINLike failed in prediction with KeyError"):
        predict(model, [batch(model.feature_map)])
    # Named rightly, so that the place in the code is all there is to say.
    remember_fields(model, PARAMS)
    with pytest.raises(ConfigError, match=r"Its own code raised this \(.*DINLike.py, line \d+\)"):
        train_epochs(model, [batch(model.feature_map)], epochs=1)


def test_errors_of_others_are_left_alone() -> None:
    model = build("Stacked")
    with pytest.raises(KeyError), explained_failures(model, "training"):
        raise KeyError("not the model's")
