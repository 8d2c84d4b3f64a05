"""An embedding layer per field, as in field-aware factorization machines."""

from __future__ import annotations

from typing import Any

import torch
from fuxictr.pytorch.layers import FeatureEmbedding, LogisticRegression
from fuxictr.pytorch.models import BaseModel
from torch import nn


class FieldAware(BaseModel):
    """Field i meets field j through the vectors that each keeps for the other."""

    def __init__(
        self,
        feature_map: Any,
        model_id: str = "FieldAware",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.first_order = LogisticRegression(feature_map)
        self.embedding_layers = nn.ModuleList(
            [FeatureEmbedding(feature_map, embedding_dim) for _ in range(feature_map.num_fields)]
        )
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        features = self.get_inputs(inputs)
        views = torch.stack([layer(features) for layer in self.embedding_layers], dim=1)
        products = (views * views.transpose(1, 2)).sum(dim=-1)
        above = torch.ones_like(products[0]).triu(1)
        pairs = (products * above).sum(dim=(1, 2)).unsqueeze(-1)
        return {"y_pred": self.output_activation(pairs + self.first_order(features))}
