"""DIN: behaviour sequences weighed against the target (arXiv:1706.06978)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import Tensor, nn

from fuxictr_loopfm.layers.base import masked_softmax, zero_padding
from fuxictr_loopfm.layers.groups import (
    FieldSetting,
    concat_fields,
    concat_sequences,
    sequence_groups,
)
from fuxictr_loopfm.layers.target_attention import score_pairs


class TargetAttention(nn.Module):
    """Weighted sum of a sequence; an MLP scores each position against the target.

    Args:
        width: width D of target and sequence.
        hidden_units: widths of the score MLP's hidden layers.
        hidden_activations: their activation. Dice normalises over all positions of a batch,
            padding included, as in FuxiCTR.
        output_activation: activation of the score, None for a raw score.
        dropout: probability inside the score MLP.
        use_softmax: whether weights are normalised over the valid positions.
    """

    def __init__(
        self,
        width: int,
        hidden_units: Sequence[int],
        hidden_activations: str | list[str],
        output_activation: str | None,
        dropout: float,
        use_softmax: bool,
    ) -> None:
        super().__init__()
        self.use_softmax = use_softmax
        self.score = MLP_Block(
            input_dim=4 * width,
            output_dim=1,
            hidden_units=list(hidden_units),
            hidden_activations=hidden_activations,
            output_activation=output_activation,
            dropout_rates=dropout,
        )

    def forward(self, target: Tensor, sequence: Tensor, mask: Tensor) -> Tensor:
        """Pool sequence (B, L, D) under ``mask`` (B, L) for target (B, D); returns (B, D)."""
        sequence = zero_padding(sequence, mask)
        weight = score_pairs(self.score.mlp, target.unsqueeze(1), sequence)  # (B, L)
        if self.use_softmax:
            weight = masked_softmax(weight, mask)
        return torch.bmm(weight.unsqueeze(1), sequence).squeeze(1)


class DIN(BaseModel):
    """Target attention over behaviour sequences, then a DNN on all fields.

    A sequence's padding is where its first field is 0, on either side. Every two-dimensional
    field, a history of the host included, goes into the DNN.

    Args:
        feature_map: features of the data set.
        model_id: name of the checkpoint.
        gpu: device index, -1 for the CPU.
        learning_rate: step size.
        embedding_dim: width of a field that states none itself.
        dnn_hidden_units: widths of the DNN's hidden layers.
        dnn_activations: their activation.
        attention_hidden_units: widths of the score MLP's hidden layers.
        attention_hidden_activations: their activation.
        attention_output_activation: activation of the score, None for a raw score.
        attention_dropout: probability inside the score MLP.
        din_target_field: target fields, see ``field_groups``; null for no sequence module.
        din_sequence_field: sequences, as many groups as ``din_target_field``.
        din_use_softmax: whether attention weights are normalised.
        net_dropout: probability after every hidden layer of the DNN.
        batch_norm: whether the DNN's hidden layers are batch-normalised.
        **kwargs: FuxiCTR's settings: optimizer, loss, regularizers, metrics and so on.

    Raises:
        ConfigError: the fields do not fit each other or the features.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        model_id: str = "DIN",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        dnn_hidden_units: Sequence[int] = (512, 128, 64),
        dnn_activations: str | list[str] = "ReLU",
        attention_hidden_units: Sequence[int] = (64,),
        attention_hidden_activations: str | list[str] = "Dice",
        attention_output_activation: str | None = None,
        attention_dropout: float = 0.0,
        din_target_field: FieldSetting = None,
        din_sequence_field: FieldSetting = None,
        din_use_softmax: bool = False,
        net_dropout: float = 0.0,
        batch_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        self.groups = sequence_groups(
            feature_map.features, embedding_dim, din_target_field, din_sequence_field
        )
        self.embedding_layer = FeatureEmbeddingDict(feature_map, embedding_dim)
        self.attention_layers = nn.ModuleList(
            TargetAttention(
                group.width,
                attention_hidden_units,
                attention_hidden_activations,
                attention_output_activation,
                attention_dropout,
                din_use_softmax,
            )
            for group in self.groups
        )
        self.dnn = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim(),
            output_dim=1,
            hidden_units=list(dnn_hidden_units),
            hidden_activations=dnn_activations,
            output_activation=self.output_activation,
            dropout_rates=net_dropout,
            batch_norm=batch_norm,
        )
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict a batch: ``y_pred`` (B, 1) float."""
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)
        pooled: dict[str, Tensor] = {}
        for group, attention in zip(self.groups, self.attention_layers, strict=True):
            target = concat_fields(fields, group.target)
            sequence = concat_sequences(fields, group.sequence)
            widths = [fields[name].shape[-1] for name in group.sequence]
            interest = attention(target, sequence, features[group.sequence[0]] != 0)
            pooled.update(zip(group.sequence, interest.split(widths, dim=-1), strict=True))
        fields.update(pooled)
        return {"y_pred": self.dnn(self.embedding_layer.dict2tensor(fields, flatten_emb=True))}
