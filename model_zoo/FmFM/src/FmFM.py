"""FmFM: a factorization machine with weights per pair of fields (arXiv:2102.12994)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbedding, LogisticRegression
from fuxictr.pytorch.models import BaseModel
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError

INTERACTIONS = ("vectorized", "matrixed")


class FieldPairs(nn.Module):
    """Sum over all pairs of fields i < j of v_i W_ij v_j.

    Args:
        num_fields: number F of fields.
        dim: their width e.
        interaction: ``matrixed`` for a full matrix W_ij, ``vectorized`` for a diagonal one.

    Raises:
        ConfigError: another interaction.
    """

    def __init__(self, num_fields: int, dim: int, interaction: str) -> None:
        super().__init__()
        if interaction not in INTERACTIONS:
            raise ConfigError(
                f"field_interaction_type: expected one of {list(INTERACTIONS)}, "
                f"found {interaction!r}."
            )
        pairs = torch.triu_indices(num_fields, num_fields, offset=1)  # (2, P)
        self.register_buffer("pairs", pairs, persistent=False)
        shape = (dim, dim) if interaction == "matrixed" else (dim,)
        self.weight = nn.Parameter(torch.empty(pairs.shape[1], *shape))
        nn.init.xavier_normal_(self.weight)

    def forward(self, fields: Tensor) -> Tensor:
        """Fields (B, F, e) to (B, 1)."""
        by_field = fields.transpose(0, 1)  # (F, B, e)
        left, right = by_field[self.pairs[0]], by_field[self.pairs[1]]  # (P, B, e)
        if self.weight.dim() == 3:
            left = torch.bmm(left, self.weight)
        else:
            left = left * self.weight.unsqueeze(1)
        return (left * right).sum(dim=(0, 2)).unsqueeze(1)


class FmFM(BaseModel):
    """First-order weights plus an inner product of its own for every pair of fields.

    A history field of the host is one more field in both orders.

    Args:
        feature_map: features of the data set.
        model_id: name of the checkpoint.
        gpu: device index, -1 for the CPU.
        learning_rate: step size.
        embedding_dim: width of every field.
        regularizer: FuxiCTR's regularizer of all weights, for example 1.0e-6.
        field_interaction_type: ``matrixed`` or ``vectorized``, see ``FieldPairs``.
        **kwargs: FuxiCTR's settings: optimizer, loss, metrics and so on.

    Raises:
        ConfigError: another ``field_interaction_type``.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        model_id: str = "FmFM",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        regularizer: float | str | None = None,
        field_interaction_type: str = "matrixed",
        **kwargs: Any,
    ) -> None:
        # One regularizer for everything: there is no network to treat differently.
        kwargs |= {"embedding_regularizer": regularizer, "net_regularizer": regularizer}
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.lr_layer = LogisticRegression(feature_map)
        # Not ``num_fields``: FuxiCTR counts that before it applies ``use_features``.
        num_fields = feature_map.get_num_fields()
        self.pairs = FieldPairs(num_fields, embedding_dim, field_interaction_type)
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict a batch: ``y_pred`` (B, 1) float."""
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)  # (B, F, embedding_dim)
        return {"y_pred": self.output_activation(self.lr_layer(features) + self.pairs(fields))}
