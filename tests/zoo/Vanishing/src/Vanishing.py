"""Reads its fields and loses them: products of small numbers, as in a deep stack of crosses."""

from __future__ import annotations

from typing import Any

from fuxictr.pytorch.layers import FeatureEmbedding
from fuxictr.pytorch.models import BaseModel
from torch import nn


class Vanishing(BaseModel):
    """A prediction in which only the bias is left."""

    def __init__(
        self,
        feature_map: Any,
        model_id: str = "Vanishing",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.fc = nn.Linear(feature_map.num_fields * embedding_dim, 1)
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        fields = self.embedding_layer(self.get_inputs(inputs)).flatten(start_dim=1)
        return {"y_pred": self.output_activation(self.fc(1.0e-6 * fields * fields * fields))}
