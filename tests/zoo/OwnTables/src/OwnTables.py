"""Builds a table per feature itself and asks every feature for its vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from fuxictr.pytorch.layers import MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import nn


class OwnTables(BaseModel):
    """An MLP on embeddings that do not come from FuxiCTR's layers."""

    def __init__(
        self,
        feature_map: Any,
        model_id: str = "OwnTables",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        hidden_units: Any = (64,),
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.tables = nn.ModuleDict()
        for name, spec in feature_map.features.items():
            if spec["type"] not in ("meta", "numeric", "sequence"):
                self.tables[name] = nn.Embedding(spec["vocab_size"], embedding_dim)
        self.mlp = MLP_Block(len(self.tables) * embedding_dim, list(hidden_units), output_dim=1)
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        features = self.get_inputs(inputs)
        parts = [table(features[name].long()) for name, table in self.tables.items()]
        return {"y_pred": self.output_activation(self.mlp(torch.cat(parts, dim=-1)))}
