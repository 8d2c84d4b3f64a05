"""Gives FuxiCTR's embedding layers a history: they project it and hand it to the model.

A history is a feature of type ``loopfm_sequence``. FuxiCTR counts such a feature in ``num_fields``
and ``sum_emb_out_dim`` but builds nothing for it, so this module adds the missing part to
``FeatureEmbeddingDict`` itself, not to a subclass: ``BaseModel.regularization_loss`` compares exact
types, and a subclass would silently lose the embedding regulariser.

Other quirks of FuxiCTR 2.3.10 are met where they matter: its trainer and tuner in this room, its
feature encoding in ``data``. ``test_host_quirks.py`` fails when FuxiCTR changes one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbeddingDict
from fuxictr.utils import not_in_whitelist
from torch import Tensor, nn

from fuxictr_loopfm.data.dataloader import TEACHER_EMBEDDING, TEACHER_LOGIT
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.model_failures import (
    FAILURES,
    constructor_problem,
    is_out_of_memory,
)
from fuxictr_loopfm.host.shared_history import HistoryField, HistoryProjection, SharedHistory

SEQUENCE_TYPE = "loopfm_sequence"

_under_construction: list[tuple[dict[str, SharedHistory], bool]] = []
_original_init = FeatureEmbeddingDict.__init__
_original_forward = FeatureEmbeddingDict.forward


def _init_with_histories(
    self: FeatureEmbeddingDict, feature_map: FeatureMap, embedding_dim: int, *args: Any, **kw: Any
) -> None:
    _original_init(self, feature_map, embedding_dim, *args, **kw)
    if not _under_construction:
        return
    _initialise_own_tables(self, feature_map)
    first_order = embedding_dim == 1 and not (self.use_pretrain and kw.get("use_sharing", True))
    histories, first_order_only = _under_construction[-1]
    for name, shared in histories.items():
        if not self.is_required(name):
            continue
        wide_enough = not first_order or (first_order_only and not shared.needs_tables)
        owns = wide_enough and shared.owner is None and shared.can_be_owned_by(self)
        if owns:
            shared.own(self, embedding_dim)
        spec = feature_map.features[name]
        width = 1 if first_order else spec.get("embedding_dim", embedding_dim)
        self.feature_encoders[name] = HistoryProjection(shared, width, owns)


def _initialise_own_tables(layer: FeatureEmbeddingDict, feature_map: FeatureMap) -> None:
    """Give tables the host's initial scale that its ``init_weights`` passes over.

    It skips every column with ``share_embedding``, also where ``use_sharing=False`` gave the column
    a table of its own: the first-order weights of a sequence then start at N(0, 1), ten thousand
    times too large, and are summed over the whole sequence.
    """
    for name, table in layer.embedding_layers.items():
        shared_with = feature_map.features[name].get("share_embedding")
        if shared_with is None or type(table) is not nn.Embedding:
            continue
        if shared_with in layer.embedding_layers and table is layer.embedding_layers[shared_with]:
            continue
        first = 0 if table.padding_idx is None else 1
        layer.embedding_initializer(table.weight[first:])


def _forward_with_histories(
    self: FeatureEmbeddingDict,
    inputs: Mapping[str, Any],
    feature_source: Sequence[str] = (),
    feature_type: Sequence[str] = (),
) -> dict[str, Tensor]:
    fields = _original_forward(self, inputs, feature_source, feature_type)
    for name, encoder in self.feature_encoders.items():
        if not isinstance(encoder, HistoryProjection) or name not in inputs:
            continue
        spec = self._feature_map.features[name]
        if feature_source and not_in_whitelist(spec["source"], feature_source):
            continue
        if feature_type and not_in_whitelist(spec["type"], feature_type):
            continue
        fields[name] = encoder(inputs[name], inputs)
    return fields


def install() -> None:
    """Teach ``FeatureEmbeddingDict`` the type ``loopfm_sequence``; again changes nothing."""
    FeatureEmbeddingDict.__init__ = _init_with_histories
    FeatureEmbeddingDict.forward = _forward_with_histories


@contextmanager
def histories_for_model(
    shared: dict[str, SharedHistory], first_order_only: bool = False
) -> Iterator[None]:
    """Embedding layers built inside the block get a projection for each history.

    Args:
        shared: the histories by feature.
        first_order_only: the model has no other embedding layers than those of width 1, so the
            first of them holds the encoder, as long as that reads no tables.
    """
    install()
    _under_construction.append((shared, first_order_only))
    try:
        yield
    finally:
        _under_construction.pop()


def prepare_feature_map(
    feature_map: FeatureMap,
    fields: Sequence[HistoryField],
    with_teacher_logit: bool,
    with_teacher_embedding: bool = False,
) -> None:
    """Keep the named histories only, and refresh the counts that FuxiCTR computed before.

    ``FeatureMap.load`` counts fields before it applies ``use_features``, so a filtered map has a
    wrong ``num_fields``; recomputing it here mends that as well.
    """
    wanted = {field.name for field in fields}
    for name in [n for n, s in feature_map.features.items() if s["type"] == SEQUENCE_TYPE]:
        if name not in wanted:
            del feature_map.features[name]
    for name in wanted:
        feature_map.features[name] = {
            "source": "",
            **feature_map.features.get(name, {}),
            "type": SEQUENCE_TYPE,
        }
    wanted_of_teacher = {
        TEACHER_LOGIT: with_teacher_logit,
        TEACHER_EMBEDDING: with_teacher_embedding,
    }
    for name in (name for name, is_wanted in wanted_of_teacher.items() if is_wanted):
        # FuxiCTR keeps meta columns out of a model's inputs, so only the loss sees them.
        feature_map.features[name] = {"type": "meta", "source": ""}
    feature_map.num_fields = feature_map.get_num_fields()
    feature_map.set_column_index()


def build_model(
    model_class: type[nn.Module],
    feature_map: FeatureMap,
    params: Mapping[str, Any],
    fields: Sequence[HistoryField] = (),
) -> tuple[nn.Module, dict[str, SharedHistory]]:
    """Construct an unmodified FuxiCTR model whose embedding layers also carry the histories.

    Raises:
        ConfigError: the model builds no FuxiCTR embedding layer that can hold the field, or its
            constructor fails on it.
    """
    name = model_class.__name__
    # Taken before anything is drawn, see below.
    random_state = torch.get_rng_state()
    model, shared = _constructed(model_class, feature_map, params, fields)
    if any(history.owner is None and not history.needs_tables for history in shared.values()):
        # Only built, it shows that it has no wider layer; the same weights are drawn again.
        torch.set_rng_state(random_state)
        model, shared = _constructed(
            model_class, feature_map, params, fields, first_order_only=True
        )
    for field in fields:
        if shared[field.name].owner is None:
            raise ConfigError(
                f"model {name} cannot take the history field {field.name!r}: it builds no FuxiCTR "
                "embedding layer wider than 1 with tables for "
                f"{[*field.id_columns, *field.query_columns]}. Use a history and an encoder that "
                "read none, such as loopfm_history: embedding with loopfm_encoder: mean."
            )
    return model, shared


def _constructed(
    model_class: type[nn.Module],
    feature_map: FeatureMap,
    params: Mapping[str, Any],
    fields: Sequence[HistoryField],
    first_order_only: bool = False,
) -> tuple[nn.Module, dict[str, SharedHistory]]:
    shared = {field.name: SharedHistory(field, feature_map) for field in fields}
    name = model_class.__name__
    try:
        with histories_for_model(shared, first_order_only):
            return model_class(feature_map, **params), shared
    except FAILURES as error:
        if is_out_of_memory(error):
            raise
        problem = constructor_problem(model_class, error, feature_map, params)
        if problem is not None:
            raise problem from error
        if not fields:
            raise ConfigError(
                f"model {name}: expected hyper-parameters that its constructor takes, found "
                f"{type(error).__name__}: {error}. Change them in the configuration."
            ) from error
        raise ConfigError(
            f"model {name} cannot take a history field: its constructor raised "
            f"{type(error).__name__}: {error}. Either a hyper-parameter is wrong, or the model "
            "does not build its embeddings through FuxiCTR's FeatureEmbedding or "
            "FeatureEmbeddingDict and does not skip feature types it does not know. A run of base "
            "tells which."
        ) from error


def check_histories_learn(model: nn.Module, shared: Mapping[str, SharedHistory]) -> None:
    """After a first backward pass: refuse a model that never reads the field it was given.

    Raises:
        ConfigError: no gradient came back through any field of a history.
    """
    for name, history in shared.items():
        if not any(projection.is_read for projection in history.projections):
            raise ConfigError(
                f"model {type(model).__name__} builds the history field {name!r} but its forward "
                "never uses it, so nothing would be learned from it. Models that pick their fields "
                "by name or type cannot take a history without a change."
            )
