"""DeepFM: a factorization machine and a DNN on shared embeddings (arXiv:1703.04247)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import Tensor


class DeepFM(BaseModel):
    """Sum of first-order weights, pairwise inner products of fields, and an MLP on all fields.

    A history field of the host is one more field in all three terms.

    Args:
        feature_map: features of the data set.
        model_id: name of the checkpoint.
        gpu: device index, -1 for the CPU.
        learning_rate: step size.
        embedding_dim: width of every field.
        hidden_units: widths of the MLP's hidden layers.
        hidden_activations: their activation, one for all or one per layer.
        net_dropout: dropout probability after every hidden layer.
        batch_norm: whether hidden layers are batch-normalised.
        **kwargs: FuxiCTR's settings: optimizer, loss, regularizers, metrics and so on.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        model_id: str = "DeepFM",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        hidden_units: Sequence[int] = (64, 64, 64),
        hidden_activations: str | list[str] = "ReLU",
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.fm = FactorizationMachine(feature_map)
        self.mlp = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim(),
            output_dim=1,
            hidden_units=list(hidden_units),
            hidden_activations=hidden_activations,
            dropout_rates=net_dropout,
            batch_norm=batch_norm,
        )
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict a batch: ``y_pred`` (B, 1) float."""
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)  # (B, F, embedding_dim)
        logit = self.fm(features, fields) + self.mlp(fields.flatten(start_dim=1))
        return {"y_pred": self.output_activation(logit)}
