"""Every FuxiCTR 2.3.10 quirk the plugin leans on, in one place.

A history is a feature of type ``loopfm_sequence``. FuxiCTR counts such a feature in ``num_fields``
and ``sum_emb_out_dim`` but builds nothing for it, so this module adds the missing part to
``FeatureEmbeddingDict`` itself, not to a subclass: ``BaseModel.regularization_loss`` compares exact
types, and a subclass would silently lose the embedding regulariser.

One encoder per model and history pools the events; each embedding layer of the model gets its own
projection of the pooled vector: width ``embedding_dim`` where fields are stacked or concatenated,
width 1 in first-order layers. Unmodified models therefore see one more field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbeddingDict
from fuxictr.utils import not_in_whitelist
from torch import Tensor, nn

from fuxictr_loopfm.data.dataloader import TEACHER_EMBEDDING, TEACHER_LOGIT
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.batch import HistoryBatch, PaddedHistory
from fuxictr_loopfm.layers.history import HistoryEncoder

SEQUENCE_TYPE = "loopfm_sequence"
EMBEDDING_STD = 1e-4


@dataclass(frozen=True)
class HistoryField:
    """What a model needs to know of one history.

    Attributes:
        name: the feature's name in the feature map.
        columns: any of ``embedding``, ``label``, ``log_age``, ``ids``.
        embedding_dim: width d of the stored embedding; ignored without ``embedding``.
        id_columns: categorical features whose tables embed the events' ids.
        query_columns: categorical features of the sample that form the attention query.
        encoder, dim, num_heads, num_layers, dropout, max_len: see ``HistoryEncoder``.
    """

    name: str
    columns: tuple[str, ...]
    embedding_dim: int
    id_columns: tuple[str, ...]
    query_columns: tuple[str, ...]
    encoder: str
    dim: int
    num_heads: int
    num_layers: int
    dropout: float
    max_len: int


class SharedHistory:
    """The one encoder of a history inside a model, and the model's tables that it reads.

    Not an ``nn.Module``: the encoder is registered once, in the embedding layer that owns it, so
    that regularisers and parameter counts see it once.
    """

    def __init__(self, field: HistoryField, feature_map: FeatureMap) -> None:
        self.field = field
        self.owner: FeatureEmbeddingDict | None = None
        self.projections: list[HistoryProjection] = []
        self._feature_map = feature_map
        self._table_width = feature_map.default_emb_dim
        self.encoder = self._new_encoder()

    def _new_encoder(self) -> HistoryEncoder:
        field = self.field
        widths = {
            name: feature_width(self._feature_map, name, self._table_width)
            for name in (*field.id_columns, *field.query_columns)
        }
        with_ids = field.id_columns if "ids" in field.columns else ()
        return HistoryEncoder(
            embedding_dim=field.embedding_dim if "embedding" in field.columns else None,
            use_label="label" in field.columns,
            use_log_age="log_age" in field.columns,
            use_length="length" in field.columns,
            id_dims={name: widths[name] for name in with_ids},
            query_dim=sum(widths[name] for name in field.query_columns),
            encoder=field.encoder,
            dim=field.dim,
            num_heads=field.num_heads,
            num_layers=field.num_layers,
            dropout=field.dropout,
            max_len=field.max_len,
        )

    def own(self, layer: FeatureEmbeddingDict, table_width: int) -> None:
        """Read the tables of ``layer``, which a model may make wider than its ``embedding_dim``."""
        self.owner = layer
        if table_width != self._table_width:
            self._table_width = table_width
            self.encoder = self._new_encoder()

    def can_be_owned_by(self, layer: FeatureEmbeddingDict) -> bool:
        """True if ``layer`` holds a table for each id and query column."""
        needed = (*self.field.id_columns, *self.field.query_columns)
        return all(name in layer.embedding_layers for name in needed)

    def pooled(self, history: HistoryBatch | PaddedHistory, inputs: Mapping[str, Tensor]) -> Tensor:
        """(B, output_dim) pooled events, computed once per batch and shared by all projections."""
        cached = getattr(history, "pooled", None)
        if cached is not None and cached[0] is self:
            return cached[1]
        events = history.ragged() if isinstance(history, PaddedHistory) else history
        assert self.owner is not None  # build_model refuses a model without an owner
        tables = self.owner.embedding_layers
        ids = {name: tables[name](codes.long()) for name, codes in events.ids.items()}
        missing = [name for name in self.field.query_columns if name not in inputs]
        if missing:
            raise ConfigError(
                f"loopfm_query_columns: the model hands its embedding layer no {missing}; "
                f"found {sorted(inputs)}. Name columns that the layer receives."
            )
        parts = [tables[name](inputs[name].long()) for name in self.field.query_columns]
        query = torch.cat(parts, dim=-1).float() if parts else None
        result = self.encoder(events, ids, query)
        history.pooled = (self, result)  # type: ignore[union-attr]
        return result


class HistoryProjection(nn.Module):
    """The pooled history as one field of an embedding layer, or as a first-order scalar."""

    def __init__(self, shared: SharedHistory, width: int, owns_encoder: bool) -> None:
        super().__init__()
        # A tuple keeps torch from registering the shared encoder under every layer.
        self._shared = (shared,)
        self.is_read = False
        if owns_encoder:
            self.encoder = shared.encoder
        self.projection = nn.Linear(shared.encoder.output_dim, width, bias=False)
        shared.projections.append(self)

    def init_weights(self) -> None:
        """Start as small as the host's embedding tables do.

        FuxiCTR calls this after its Xavier initialisation. A field of another scale than its
        neighbours drowns them during the few steps that one pass has.
        """
        nn.init.normal_(self.projection.weight, std=EMBEDDING_STD)

    def forward(
        self, history: HistoryBatch | PaddedHistory, inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """(B, width) field."""
        field: Tensor = self.projection(self._shared[0].pooled(history, inputs))
        if field.requires_grad and not self.is_read:
            # Not the weight's gradient: an embedding regulariser gives that to unread fields too.
            field.register_hook(self._mark_read)
        return field

    def _mark_read(self, _gradient: Tensor) -> None:
        self.is_read = True


def feature_width(feature_map: FeatureMap, name: str, table_width: int) -> int:
    """Embedding width of a feature; FuxiCTR lets a column override its layer's."""
    if name not in feature_map.features:
        raise ConfigError(
            f"history column {name!r} is no feature of {feature_map.dataset_id}; "
            f"found {list(feature_map.features)}"
        )
    spec = feature_map.features[name]
    if spec["type"] != "categorical":
        raise ConfigError(
            f"history column {name!r} of {feature_map.dataset_id}: expected a categorical feature, "
            f"whose table embeds ids, found {spec['type']}"
        )
    return spec.get("embedding_dim", table_width)


_under_construction: list[dict[str, SharedHistory]] = []
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
    for name, shared in _under_construction[-1].items():
        if not self.is_required(name):
            continue
        owns = not first_order and shared.owner is None and shared.can_be_owned_by(self)
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
def histories_for_model(shared: dict[str, SharedHistory]) -> Iterator[None]:
    """Embedding layers built inside the block get a projection for each history."""
    install()
    _under_construction.append(shared)
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
    shared = {field.name: SharedHistory(field, feature_map) for field in fields}
    name = model_class.__name__
    try:
        with histories_for_model(shared):
            model = model_class(feature_map, **params)
    except (KeyError, TypeError, AttributeError, NotImplementedError, ValueError) as error:
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
    for field in fields:
        if shared[field.name].owner is None:
            raise ConfigError(
                f"model {name} cannot take the history field {field.name!r}: it builds no FuxiCTR "
                "embedding layer wider than 1 with tables for "
                f"{[*field.id_columns, *field.query_columns]}."
            )
    return model, shared


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
