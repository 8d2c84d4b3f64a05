"""Cannot do without a behaviour sequence: its constructor asks for the length of one."""

from __future__ import annotations

from typing import Any

import torch
from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import nn


class BehaviourReader(BaseModel):
    """A sum over the sequence's steps, weighted by position and by the target, beside all fields.

    As in FuxiCTR's models, a field that is no list is wrapped in one, null included.
    """

    def __init__(
        self,
        feature_map: Any,
        model_id: str = "BehaviourReader",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        dnn_hidden_units: Any = (64, 32),
        target_item_field: Any = "item_id",
        sequence_item_field: Any = "click_history",
        reader_neg_seq_field: Any = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        targets = target_item_field if isinstance(target_item_field, list) else [target_item_field]
        sequences = sequence_item_field
        sequences = sequences if isinstance(sequences, list) else [sequences]
        assert list(reader_neg_seq_field) == [], "no negatives"
        self.pairs = list(zip(targets, sequences, strict=True))
        self.positions = nn.ParameterList(
            [nn.Parameter(torch.ones(feature_map.features[s]["max_len"])) for s in sequences]
        )
        self.embedding_layer = FeatureEmbeddingDict(feature_map, embedding_dim)
        self.dnn = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim(),
            hidden_units=list(dnn_hidden_units),
            output_dim=1,
        )
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, Any]:
        fields = self.embedding_layer(self.get_inputs(inputs))
        for (target, sequence), position in zip(self.pairs, self.positions, strict=True):
            steps = fields[sequence]
            weight = (steps * fields[target].unsqueeze(1)).sum(dim=-1) + position
            fields[sequence] = (weight.unsqueeze(-1) * steps).sum(dim=1)
        flat = torch.cat(list(fields.values()), dim=-1)
        return {"y_pred": self.output_activation(self.dnn(flat))}
