"""DMIN: several interests per behaviour sequence (Xiao et al., CIKM 2020)."""

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

from .interests import InterestExtractor, InterestSettings, next_behavior_loss


class DMIN(BaseModel):
    """Behaviour sequences turned into interests by self-attention and target attention.

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
        aux_hidden_units: widths of the auxiliary network's hidden layers.
        aux_activation: their activation.
        net_dropout: probability in the DNN, the auxiliary network and after self-attention.
        target_field: target fields, see ``field_groups``; null for no sequence module.
        sequence_field: sequences, as many groups as ``target_field``.
        neg_seq_field: sequences of sampled negatives for the auxiliary loss, or null.
        num_heads: attention heads and interests per sequence.
        enable_sum_pooling: whether the sum of the sequence joins the interests.
        attention_hidden_units: widths of the score MLPs' hidden layers.
        attention_activation: their activation.
        attention_dropout: probability inside attention and score MLPs.
        use_pos_emb: whether the position joins the target when a behaviour is scored.
        pos_emb_dim: width of the position.
        use_behavior_refiner: whether a self-attention layer refines the sequence first.
        aux_loss_lambda: weight of the auxiliary loss, 0 for none.
        batch_norm: whether the DNN is batch-normalised.
        bn_only_once: whether that is done at its input only.
        layer_norm: whether self-attention ends in a layer normalisation.
        legacy_mask: reproduce FuxiCTR's refiner, which raises the scores of padding and of later
            behaviours by 1 instead of excluding them. Only for comparison with BARS.
        **kwargs: FuxiCTR's settings: optimizer, loss, regularizers, metrics and so on.

    Raises:
        ConfigError: the fields do not fit each other or the features, or the heads do not divide
            the width of a sequence.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        model_id: str = "DMIN",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        dnn_hidden_units: Sequence[int] = (512, 128, 64),
        dnn_activations: str | list[str] = "Dice",
        aux_hidden_units: Sequence[int] = (100, 50),
        aux_activation: str | list[str] = "ReLU",
        net_dropout: float = 0.0,
        target_field: FieldSetting = None,
        sequence_field: FieldSetting = None,
        neg_seq_field: FieldSetting = None,
        num_heads: int = 4,
        enable_sum_pooling: bool = False,
        attention_hidden_units: Sequence[int] = (80, 40),
        attention_activation: str | list[str] = "ReLU",
        attention_dropout: float = 0.0,
        use_pos_emb: bool = True,
        pos_emb_dim: int = 8,
        use_behavior_refiner: bool = True,
        aux_loss_lambda: float = 0.0,
        batch_norm: bool = True,
        bn_only_once: bool = False,
        layer_norm: bool = True,
        legacy_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        settings = InterestSettings(
            num_heads=num_heads,
            net_dropout=net_dropout,
            layer_norm=layer_norm,
            attention_hidden_units=tuple(attention_hidden_units),
            attention_activation=attention_activation,
            attention_dropout=attention_dropout,
            pos_emb_dim=pos_emb_dim if use_pos_emb else None,
            legacy_mask=legacy_mask,
        )
        self.groups = sequence_groups(
            feature_map.features, embedding_dim, target_field, sequence_field, neg_seq_field
        )
        self.pooled_fields = {n for group in self.groups for n in group.sequence + group.negative}
        self.embedding_layer = FeatureEmbeddingDict(feature_map, embedding_dim)
        extractors = [
            InterestExtractor(group, settings, use_behavior_refiner, enable_sum_pooling)
            for group in self.groups
        ]
        self.extractors = nn.ModuleList(extractors)
        self.aux_loss_lambda = aux_loss_lambda
        self.aux_net = nn.ModuleList(
            self._auxiliary_network(group, aux_hidden_units, aux_activation, net_dropout)
            for group in self.groups
            if aux_loss_lambda > 0
        )
        features = feature_map.features
        replaced = sum(field_width(features[name], embedding_dim) for name in self.pooled_fields)
        added = sum(extractor.output_dim for extractor in extractors)
        self.dnn = MLP_Block(
            input_dim=self.feature_map.sum_emb_out_dim() - replaced + added,
            output_dim=1,
            hidden_units=list(dnn_hidden_units),
            hidden_activations=dnn_activations,
            output_activation=self.output_activation,
            dropout_rates=net_dropout,
            batch_norm=batch_norm,
            bn_only_once=bn_only_once,
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
                f"aux_loss_lambda: the auxiliary loss needs sampled negatives for the sequence "
                f"{group.sequence}, found none. Name them in neg_seq_field or set "
                f"aux_loss_lambda: 0."
            )
        # No batch normalisation here: the positions of a sequence are no independent sample.
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
        for index, (group, extractor) in enumerate(zip(self.groups, self.extractors, strict=True)):
            mask = features[group.sequence[0]] != 0
            sequence = concat_sequences(fields, group.sequence)
            interests, refined = extractor(sequence, concat_fields(fields, group.target), mask)
            parts.append(interests)
            if self.training and self.aux_loss_lambda > 0:
                sampled = concat_sequences(fields, group.negative)
                known = features[group.negative[0]] != 0
                network = self.aux_net[index]
                loss = next_behavior_loss(network, refined, sequence, sampled, mask, known)
                aux_losses.append(loss)
        result = {"y_pred": self.dnn(torch.cat(parts, dim=-1))}
        if aux_losses:
            result["aux_loss"] = torch.stack(aux_losses).sum()
        return result

    def add_loss(self, return_dict: Mapping[str, Tensor], y_true: Tensor) -> Tensor:
        """Task loss plus the weighted auxiliary loss, () float."""
        loss: Tensor = super().add_loss(return_dict, y_true)
        if "aux_loss" in return_dict:
            loss = loss + self.aux_loss_lambda * return_dict["aux_loss"]
        return loss
