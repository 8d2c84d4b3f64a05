"""FM: first-order weights and inner products of all pairs of fields (Rendle, ICDM 2010)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding
from fuxictr.pytorch.models import BaseModel
from torch import Tensor


class FM(BaseModel):
    """Sum of a bias, a weight per feature and the inner products of all pairs of fields.

    A history field of the host is one more field in both orders.

    Args:
        feature_map: features of the data set.
        model_id: name of the checkpoint.
        gpu: device index, -1 for the CPU.
        learning_rate: step size.
        embedding_dim: width of every field.
        regularizer: FuxiCTR's regularizer of all weights, for example 1.0e-6.
        **kwargs: FuxiCTR's settings: optimizer, loss, metrics and so on.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        model_id: str = "FM",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        regularizer: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        # One regularizer for everything: there is no network to treat differently.
        kwargs |= {"embedding_regularizer": regularizer, "net_regularizer": regularizer}
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.fm = FactorizationMachine(feature_map)
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict a batch: ``y_pred`` (B, 1) float."""
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)  # (B, F, embedding_dim)
        return {"y_pred": self.output_activation(self.fm(features, fields))}
