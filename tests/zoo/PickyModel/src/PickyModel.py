"""Embeds every feature, but reads the first and the last categorical field by name only."""

from __future__ import annotations

from typing import Any

import torch
from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel


class PickyModel(BaseModel):
    """An MLP on two named fields."""

    def __init__(
        self,
        feature_map: Any,
        model_id: str = "PickyModel",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        hidden_units: Any = (64,),
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        names = [n for n, spec in feature_map.features.items() if spec["type"] == "categorical"]
        self.names = (names[0], names[-1])
        self.embedding_layer = FeatureEmbeddingDict(feature_map, embedding_dim)
        self.mlp = MLP_Block(2 * embedding_dim, list(hidden_units), output_dim=1)
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        fields = self.embedding_layer(self.get_inputs(inputs))
        flat = torch.cat([fields[name] for name in self.names], dim=-1)
        return {"y_pred": self.output_activation(self.mlp(flat))}
