"""What FuxiCTR 2.3.10 does that the plugin leans on; a host that changes fails here first."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import FeatureEmbedding, FeatureEmbeddingDict
from torch import nn

from fuxictr_loopfm.host import history_fields
from fuxictr_loopfm.host.shared_history import EMBEDDING_STD, SharedHistory
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


def features(feature_map: FeatureMap) -> dict[str, Any]:
    """A batch without its label, as embedding layers get it."""
    return {n: value for n, value in batch(feature_map).items() if n in feature_map.features}


def test_the_pinned_release_is_the_one_these_tests_describe() -> None:
    import fuxictr

    assert fuxictr.__version__ == "2.3.10"


def test_load_counts_fields_before_it_applies_use_features(tmp_path: Path) -> None:
    features = {name: {"source": "", "type": "categorical", "vocab_size": 3} for name in "abc"}
    written = {
        "dataset_id": "x",
        "labels": ["y"],
        "features": [{n: s} for n, s in features.items()],
    }
    path = tmp_path / "feature_map.json"
    path.write_text(json.dumps(written))
    loaded = FeatureMap("x", str(tmp_path))
    loaded.load(str(path), {"use_features": ["a", "b"]})
    assert list(loaded.features) == ["a", "b"] and loaded.num_fields == 3
    history_fields.prepare_feature_map(loaded, (), with_teacher_logit=False)
    assert loaded.num_fields == 2


def test_the_host_counts_an_unknown_type_but_builds_nothing_for_it() -> None:
    feature_map = tiny_map([field()])
    layer = FeatureEmbeddingDict(feature_map, WIDTH)
    assert feature_map.num_fields == 5
    assert HISTORY not in layer.embedding_layers and HISTORY not in layer.feature_encoders
    assert list(layer(features(tiny_map()))) == ["user", "item", "price", "hour"]


def test_meta_features_count_nowhere_and_reach_no_model() -> None:
    model = build("Stacked", logit=True)
    inputs = batch(model.feature_map)
    assert history_fields.TEACHER_LOGIT in inputs
    assert history_fields.TEACHER_LOGIT not in model.get_inputs(inputs)
    assert model.feature_map.num_fields == 4 and model.feature_map.sum_emb_out_dim() == 4 * WIDTH


def test_embedding_layers_look_every_input_up() -> None:
    layer = FeatureEmbeddingDict(tiny_map(), WIDTH)
    with pytest.raises(KeyError, match="click"):
        layer(batch(tiny_map()))


def test_get_inputs_moves_whatever_has_a_device_and_refuses_unknown_names() -> None:
    model = build("Stacked", [field()])
    inputs = batch(model.feature_map)
    moved = model.get_inputs(inputs)[HISTORY]
    assert moved is not inputs[HISTORY] and torch.equal(moved.mask, inputs[HISTORY].mask)
    with pytest.raises(KeyError, match="stranger"):
        model.get_inputs({**inputs, "stranger": inputs["user"]})


class Subclass(FeatureEmbeddingDict):
    """What a plugin would write first."""


def test_the_regulariser_compares_exact_types_so_a_subclass_loses_it() -> None:
    model = build("DINLike", embedding_regularizer=1.0)
    assert model.regularization_loss().item() > 0
    model.embedding_layer = Subclass(model.feature_map, WIDTH)
    assert model.regularization_loss() == 0


def test_the_regulariser_counts_a_parameter_of_two_layers_twice() -> None:
    model = build("FieldAware", embedding_regularizer=2.0)
    first, second = (layer.embedding_layer for layer in model.embedding_layers[:2])
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(first.embedding_layers["hour"].weight)
    once = 4 * WIDTH
    assert model.regularization_loss().item() == pytest.approx(once)
    second.embedding_layers["hour"] = first.embedding_layers["hour"]
    assert model.regularization_loss().item() == pytest.approx(2 * once)


def test_fit_cannot_run_without_validation() -> None:
    model = build("Stacked")
    with pytest.raises(TypeError, match="NoneType"):
        model.fit([batch(model.feature_map)], epochs=1)


def test_reset_parameters_makes_linears_large_and_then_calls_init_weights() -> None:
    model = build("Flattened", [field()])
    weight = projections(model)[0].projection.weight
    assert 0 < float(weight.detach().std()) < 3 * EMBEDDING_STD
    assert float(model.fc.weight.detach().std()) > 100 * EMBEDDING_STD


def test_first_order_layers_are_known_by_width_one_without_sharing() -> None:
    model = build("Stacked")
    layer = model.first_order.embedding_layer.embedding_layer
    assert layer.use_pretrain is False
    assert layer.embedding_layers["user"].weight.shape == (5, 1)
    by_itself = FeatureEmbedding(tiny_map(), 1).embedding_layer
    assert by_itself.use_pretrain is True


def test_installing_twice_wraps_once() -> None:
    history_fields.install()
    first = (FeatureEmbeddingDict.__init__, FeatureEmbeddingDict.forward)
    history_fields.install()
    assert (FeatureEmbeddingDict.__init__, FeatureEmbeddingDict.forward) == first
    build("Stacked", [field()])
    assert type(build("DINLike", [field()]).embedding_layer) is FeatureEmbeddingDict


def test_outside_the_block_no_layer_gets_a_history() -> None:
    feature_map = tiny_map([field()])
    shared = {HISTORY: SharedHistory(field(), feature_map)}
    with pytest.raises(RuntimeError, match="broken"), history_fields.histories_for_model(shared):
        raise RuntimeError("broken constructor")
    layer = FeatureEmbeddingDict(feature_map, WIDTH)
    assert not list(layer.feature_encoders) and shared[HISTORY].owner is None


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        ({}, True),
        ({"required_feature_columns": ["user", "item"]}, False),
        ({"required_feature_columns": ["item", HISTORY]}, True),
        ({"not_required_feature_columns": [HISTORY]}, False),
    ],
)
def test_layers_take_the_fields_they_are_asked_to(arguments: dict[str, Any], taken: bool) -> None:
    feature_map = tiny_map([field()])
    shared = {HISTORY: SharedHistory(field(), feature_map)}
    with history_fields.histories_for_model(shared):
        layer = FeatureEmbeddingDict(feature_map, WIDTH, **arguments)
    assert (HISTORY in layer.feature_encoders) is taken
    assert (HISTORY in layer(features(feature_map))) is taken


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"feature_type": ["categorical"]}, ["user", "item", "hour"]),
        ({"feature_type": [history_fields.SEQUENCE_TYPE]}, [HISTORY]),
        ({"feature_source": ["user"]}, ["user"]),
        ({"feature_source": [""]}, ["price", "hour", HISTORY]),
    ],
)
def test_whitelists_of_the_host_hold_for_histories(
    arguments: dict[str, Any], expected: list[str]
) -> None:
    model = build("DINLike", [field()])
    inputs = features(tiny_map([field()]))
    assert list(model.embedding_layer(inputs, **arguments)) == expected


def test_the_loader_hook_is_called_with_what_the_loader_expects(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[tuple[Any, ...]] = []

    class Loader:
        num_samples, num_blocks = 3, 1

        def __init__(self, feature_map: Any, path: str, split: str, **kwargs: Any) -> None:
            seen.append((path, split, kwargs["batch_size"], kwargs["shuffle"]))

    with caplog.at_level(logging.INFO):
        made = RankDataLoader(
            tiny_map(), train_data="a", test_data="b", batch_size=9, data_loader=Loader
        )
    assert seen == [("a", "train", 9, True), ("b", "test", 9, False)]
    assert len(made) == 3 and made[1] is None
    assert "Train samples: total/3, blocks/1" in caplog.messages


def test_models_without_fields_are_built_as_ever() -> None:
    torch.manual_seed(0)
    expected = stand_in("Stacked")(tiny_map(), **PARAMS).state_dict()
    found = build("Stacked").state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_models_swallow_unknown_keywords() -> None:
    """The reason why unknown ``loopfm_`` keys are refused elsewhere."""
    stand_in("Stacked")(tiny_map(), **PARAMS, loopfm_encodr="mean")


def test_first_order_tables_of_shared_sequences_start_small() -> None:
    """FuxiCTR leaves them at N(0, 1); if this host no longer does, the mend can go."""
    feature_map = FeatureMap("tiny", "")
    feature_map.default_emb_dim = 4
    feature_map.features = OrderedDict(
        item={"type": "categorical", "source": "", "vocab_size": 50, "padding_idx": 0},
        past={
            **{"type": "sequence", "source": "", "vocab_size": 50, "padding_idx": 0},
            **{"share_embedding": "item", "max_len": 3},
        },
    )
    plain = FeatureEmbeddingDict(feature_map, 1, use_pretrain=False, use_sharing=False)
    assert plain.embedding_layers["past"].weight.std() > 0.5
    with history_fields.histories_for_model({}):
        mended = FeatureEmbeddingDict(feature_map, 1, use_pretrain=False, use_sharing=False)
        sharing = FeatureEmbeddingDict(feature_map, 4)
    assert 0 < mended.embedding_layers["past"].weight.std() < 1e-3
    assert not mended.embedding_layers["past"].weight[0].any()
    assert sharing.embedding_layers["past"] is sharing.embedding_layers["item"]
