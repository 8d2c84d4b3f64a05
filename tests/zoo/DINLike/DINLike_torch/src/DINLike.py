"""A dictionary of fields: a target weighs its own sequence, then every flat field is joined."""

from __future__ import annotations

from typing import Any

import torch
from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import nn


class DINLike(BaseModel):
    """Attention of a target field over its sequence field, on embeddings by name."""

    def __init__(
        self,
        feature_map: Any,
        model_id: str = "DINLike",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        dnn_hidden_units: Any = (64, 32),
        attention_units: int = 8,
        din_target_field: Any = None,
        din_sequence_field: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.pairs = list(zip(din_target_field or [], din_sequence_field or [], strict=True))
        self.embedding_layer = FeatureEmbeddingDict(feature_map, embedding_dim)
        self.scores = nn.ModuleList(
            [MLP_Block(3 * embedding_dim, [attention_units], output_dim=1) for _ in self.pairs]
        )
        self.dnn = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim(),
            hidden_units=list(dnn_hidden_units),
            output_dim=1,
        )
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)
        for score, (target, sequence) in zip(self.scores, self.pairs, strict=True):
            steps = fields[sequence]
            query = fields[target].unsqueeze(1).expand_as(steps)
            both = torch.cat([query, steps, query * steps], dim=-1)
            weight = score(both.flatten(0, 1)).view(steps.shape[:2])
            weight = weight * (features[sequence] > 0).float()
            fields[sequence] = (weight.unsqueeze(-1) * steps).sum(dim=1)
        flat = torch.cat([field for field in fields.values() if field.dim() == 2], dim=-1)
        return {"y_pred": self.output_activation(self.dnn(flat))}
