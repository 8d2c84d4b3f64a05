"""Stacked fields: pairwise inner products and first-order weights."""

from __future__ import annotations

from typing import Any

import torch
from fuxictr.pytorch.layers import FeatureEmbedding, LogisticRegression
from fuxictr.pytorch.models import BaseModel


class Stacked(BaseModel):
    """A factorization machine on (B, F, k) embeddings; it has no hidden layer at all."""

    def __init__(
        self,
        feature_map: Any,
        model_id: str = "Stacked",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.first_order = LogisticRegression(feature_map, use_bias=True)
        self.num_fields = feature_map.num_fields
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)
        products = torch.bmm(fields, fields.transpose(1, 2))
        above = torch.ones(self.num_fields, self.num_fields).triu(1)
        pairs = (products * above).sum(dim=(1, 2)).unsqueeze(-1)
        return {"y_pred": self.output_activation(pairs + self.first_order(features))}
