"""DIEN: interests that evolve towards the target (arXiv:1809.03672)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.groups import (
    FieldSetting,
    SequenceGroup,
    concat_fields,
    concat_sequences,
    field_width,
    sequence_groups,
)

from .evolution import EvolutionSettings, InterestEvolution, next_behavior_loss


class DIEN(BaseModel):
    """Behaviour sequences pooled by two recurrences, then a DNN on all fields.

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
        net_dropout: probability in the DNN and the auxiliary network.
        batch_norm: whether the DNN's hidden layers are batch-normalised.
        dien_target_field: target fields, see ``field_groups``; null for no sequence module.
        dien_sequence_field: sequences, as many groups as ``dien_target_field``.
        dien_neg_seq_field: sequences of sampled negatives for the auxiliary loss, or null.
        gru_type: the second recurrence: GRU, AIGRU, AGRU or AUGRU.
        enable_sum_pooling: whether the sum of the sequence joins the DNN's input.
        attention_type: din_attention, bilinear_attention or dot_attention.
        attention_hidden_units: widths of the score MLP's hidden layers.
        attention_activation: their activation.
        attention_dropout: probability inside the score MLP.
        use_attention_softmax: whether attention weights are normalised.
        aux_hidden_units: widths of the auxiliary network's hidden layers.
        aux_activation: their activation.
        aux_loss_alpha: weight of the auxiliary loss, 0 for none.
        **kwargs: FuxiCTR's settings: optimizer, loss, regularizers, metrics and so on.

    Raises:
        ConfigError: the fields do not fit each other or the features, an unknown recurrence or
            attention, or an auxiliary loss without negatives.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        model_id: str = "DIEN",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 16,
        dnn_hidden_units: Sequence[int] = (200, 80),
        dnn_activations: str | list[str] = "ReLU",
        net_dropout: float = 0.0,
        batch_norm: bool = True,
        dien_target_field: FieldSetting = None,
        dien_sequence_field: FieldSetting = None,
        dien_neg_seq_field: FieldSetting = None,
        gru_type: str = "AUGRU",
        enable_sum_pooling: bool = False,
        attention_type: str = "bilinear_attention",
        attention_hidden_units: Sequence[int] = (80, 40),
        attention_activation: str | list[str] = "Dice",
        attention_dropout: float = 0.0,
        use_attention_softmax: bool = True,
        aux_hidden_units: Sequence[int] = (100, 50),
        aux_activation: str | list[str] = "ReLU",
        aux_loss_alpha: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        settings = EvolutionSettings(
            gru_type=gru_type,
            attention_type=attention_type,
            attention_hidden_units=attention_hidden_units,
            attention_activation=attention_activation,
            attention_dropout=attention_dropout,
            use_attention_softmax=use_attention_softmax,
            sum_pooling=enable_sum_pooling,
        )
        features = feature_map.features
        self.groups = sequence_groups(
            features, embedding_dim, dien_target_field, dien_sequence_field, dien_neg_seq_field
        )
        self.pooled_fields = {n for group in self.groups for n in group.sequence + group.negative}
        self.embedding_layer = FeatureEmbeddingDict(feature_map, embedding_dim)
        evolutions = [InterestEvolution(group, settings) for group in self.groups]
        self.evolutions = nn.ModuleList(evolutions)
        self.aux_loss_alpha = aux_loss_alpha
        self.aux_net = nn.ModuleList(
            self._auxiliary_network(group, aux_hidden_units, aux_activation, net_dropout)
            for group in self.groups
            if aux_loss_alpha > 0
        )
        replaced = sum(field_width(features[name], embedding_dim) for name in self.pooled_fields)
        added = sum(evolution.output_dim for evolution in evolutions)
        self.dnn = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim() - replaced + added,
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

    @staticmethod
    def _auxiliary_network(
        group: SequenceGroup,
        hidden_units: Sequence[int],
        activation: str | list[str],
        dropout: float,
    ) -> MLP_Block:
        if not group.negative:
            raise ConfigError(
                f"aux_loss_alpha: the auxiliary loss needs sampled negatives for the sequence "
                f"{group.sequence}, found none. Name them in dien_neg_seq_field or set "
                f"aux_loss_alpha: 0."
            )
        return MLP_Block(
            input_dim=2 * group.width,
            output_dim=1,
            hidden_units=list(hidden_units),
            hidden_activations=activation,
            dropout_rates=dropout,
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict a batch: ``y_pred`` (B, 1) float, and ``aux_loss`` () while training with it."""
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)
        kept = {name: field for name, field in fields.items() if name not in self.pooled_fields}
        parts = [self.embedding_layer.dict2tensor(kept, flatten_emb=True)]
        aux_losses = []
        for index, (group, evolve) in enumerate(zip(self.groups, self.evolutions, strict=True)):
            sequence = concat_sequences(fields, group.sequence)
            mask = features[group.sequence[0]] != 0
            evolution = evolve(sequence, concat_fields(fields, group.target), mask)
            parts.append(evolution.pooled)
            if self.training and self.aux_loss_alpha > 0:
                sampled = concat_sequences(fields, group.negative)
                known = features[group.negative[0]] != 0
                network = self.aux_net[index]
                aux_losses.append(next_behavior_loss(network, evolution, sequence, sampled, known))
        result = {"y_pred": self.dnn(torch.cat(parts, dim=-1))}
        if aux_losses:
            result["aux_loss"] = torch.stack(aux_losses).sum()
        return result

    def add_loss(self, return_dict: Mapping[str, Tensor], y_true: Tensor) -> Tensor:
        """Task loss plus the weighted auxiliary loss, () float."""
        loss: Tensor = super().add_loss(return_dict, y_true)
        if "aux_loss" in return_dict:
            loss = loss + self.aux_loss_alpha * return_dict["aux_loss"]
        return loss
