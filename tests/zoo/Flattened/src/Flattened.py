"""Flat fields: cross layers beside an MLP, joined by one last linear layer."""

from __future__ import annotations

from typing import Any

import torch
from fuxictr.pytorch.layers import FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import nn


class Flattened(BaseModel):
    """Explicit crosses x0 * (W x + b) + x and a deep part on the same flat embedding."""

    def __init__(
        self,
        feature_map: Any,
        model_id: str = "Flattened",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        hidden_units: Any = (64, 64),
        num_crosses: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        width = feature_map.sum_emb_out_dim()
        self.crosses = nn.ModuleList([nn.Linear(width, width) for _ in range(num_crosses)])
        self.deep = MLP_Block(input_dim=width, hidden_units=list(hidden_units))
        self.fc = nn.Linear(width + hidden_units[-1], 1)
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        flat = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        crossed = flat
        for layer in self.crosses:
            crossed = flat * layer(crossed) + crossed
        logit = self.fc(torch.cat([crossed, self.deep(flat)], dim=-1))
        return {"y_pred": self.output_activation(logit)}
