"""A history inside a model: its one encoder, and the vector that each embedding layer gets of it.

One encoder per model and history pools the events; each embedding layer of the model gets its own
projection of the pooled vector: width ``embedding_dim`` where fields are stacked or concatenated,
width 1 in first-order layers. Unmodified models therefore see one more field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbeddingDict
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.base import EncoderSpec
from fuxictr_loopfm.layers.batch import HistoryBatch, PaddedHistory
from fuxictr_loopfm.layers.history import HistoryEncoder

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
        encoder: what pools the events.
    """

    name: str
    columns: tuple[str, ...]
    embedding_dim: int
    id_columns: tuple[str, ...]
    query_columns: tuple[str, ...]
    encoder: EncoderSpec


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
        )

    def own(self, layer: FeatureEmbeddingDict, table_width: int) -> None:
        """Read the tables of ``layer``, which a model may make wider than its ``embedding_dim``."""
        self.owner = layer
        if table_width != self._table_width:
            self._table_width = table_width
            self.encoder = self._new_encoder()

    @property
    def needs_tables(self) -> bool:
        """True if the encoder reads embeddings of ids or of the sample."""
        return bool(self.field.id_columns or self.field.query_columns)

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
