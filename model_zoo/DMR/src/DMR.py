"""DMR: a ranker that also matches users to items (Lyu et al., AAAI 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.base import zero_padding
from fuxictr_loopfm.layers.groups import (
    FieldSetting,
    SequenceGroup,
    concat_fields,
    concat_sequences,
    field_groups,
    field_width,
    sequence_groups,
)

from .relevance import (
    ItemToItem,
    OutputTables,
    RelevanceSettings,
    UserToItem,
    context_groups,
    match_loss,
    newest,
    newest_ids,
)


class DMR(BaseModel):
    """Behaviour sequences pooled against the target and matched to it, then a DNN on all fields.

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
        net_dropout: probability after every hidden layer of the DNN.
        batch_norm: whether the DNN is batch-normalised.
        bn_only_once: whether that is done at its input only.
        target_field: target fields, see ``field_groups``; null for no sequence module.
        sequence_field: sequences, as many groups as ``target_field``.
        neg_seq_field: sequences of sampled negatives for the auxiliary loss, or null.
        context_field: sequences that describe the behaviours (their type, say), as many groups as
            ``sequence_field``, or null.
        enable_sum_pooling: whether the sum of the sequence joins the DNN's input.
        enable_u2i_rel: whether the match of user and target joins the DNN's input.
        enable_i2i_rel: whether the sum of attention scores joins the DNN's input.
        attention_hidden_units: widths of the score MLPs' hidden layers.
        attention_activation: their activation.
        attention_dropout: probability inside the score MLPs.
        use_pos_emb: whether the position joins the target when a behaviour is scored; the match
            of user and target always has it.
        pos_emb_dim: width of a position.
        aux_loss_beta: weight of the auxiliary loss, 0 for none.
        legacy_output_tables: build the output tables without ``enable_u2i_rel`` too, as FuxiCTR
            does although nothing reads them. Only to compare parameter counts with BARS.
        **kwargs: FuxiCTR's settings: optimizer, loss, regularizers, metrics and so on.

    Raises:
        ConfigError: the fields do not fit each other or the features, or the auxiliary loss lacks
            what it needs.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        model_id: str = "DMR",
        gpu: int = -1,
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        dnn_hidden_units: Sequence[int] = (512, 128, 64),
        dnn_activations: str | list[str] = "ReLU",
        net_dropout: float = 0.0,
        batch_norm: bool = True,
        bn_only_once: bool = False,
        target_field: FieldSetting = None,
        sequence_field: FieldSetting = None,
        neg_seq_field: FieldSetting = None,
        context_field: FieldSetting = None,
        enable_sum_pooling: bool = False,
        enable_u2i_rel: bool = True,
        enable_i2i_rel: bool = False,
        attention_hidden_units: Sequence[int] = (80, 40),
        attention_activation: str | list[str] = "ReLU",
        attention_dropout: float = 0.0,
        use_pos_emb: bool = True,
        pos_emb_dim: int = 8,
        aux_loss_beta: float = 0.0,
        legacy_output_tables: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=gpu, **kwargs)
        settings = RelevanceSettings(
            attention_hidden_units=attention_hidden_units,
            attention_activation=attention_activation,
            attention_dropout=attention_dropout,
            pos_emb_dim=pos_emb_dim,
        )
        self.enable_sum_pooling = enable_sum_pooling
        self.enable_i2i_rel = enable_i2i_rel
        self.aux_loss_beta = aux_loss_beta
        features = feature_map.features
        context = {name for names in field_groups(context_field) for name in names}
        behaviours = {name for names in field_groups(sequence_field) for name in names}
        # A sequence that only describes behaviours is read here, not by the groups.
        others = {
            name: spec
            for name, spec in features.items()
            if name not in context - behaviours or spec["type"] != "sequence"
        }
        self.groups = sequence_groups(
            others, embedding_dim, target_field, sequence_field, neg_seq_field
        )
        self.contexts = context_groups(features, context_field, [g.max_len for g in self.groups])
        self._check_auxiliary_loss(enable_u2i_rel)
        self.pooled_fields = {n for group in self.groups for n in group.sequence + group.negative}
        self.pooled_fields |= context
        self.embedding_layer = FeatureEmbeddingDict(feature_map, embedding_dim)
        self.item_to_item, self.user_to_item = nn.ModuleList(), nn.ModuleList()
        for group, names in zip(self.groups, self.contexts, strict=True):
            width = sum(field_width(features[name], embedding_dim) for name in names)
            self.item_to_item.append(ItemToItem(group, settings, width, use_pos_emb))
            if enable_u2i_rel:
                self.user_to_item.append(UserToItem(group, settings, width))
        targets = [name for group in self.groups for name in group.target]
        with_tables = enable_u2i_rel or legacy_output_tables
        self.output_tables = OutputTables(features, embedding_dim, targets if with_tables else ())
        relevances = enable_u2i_rel + enable_i2i_rel
        replaced = sum(field_width(features[name], embedding_dim) for name in self.pooled_fields)
        added = sum(g.width * (1 + 2 * enable_sum_pooling) + relevances for g in self.groups)
        self.dnn = MLP_Block(
            input_dim=feature_map.sum_emb_out_dim() - replaced + added,
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

    def _check_auxiliary_loss(self, enable_u2i_rel: bool) -> None:
        if self.aux_loss_beta <= 0:
            return
        problems = []
        if not enable_u2i_rel:
            problems.append("aux_loss_beta: the auxiliary loss needs enable_u2i_rel: True.")
        for group in self.groups:
            if not len(group.target) == len(group.sequence) == len(group.negative):
                problems.append(
                    f"aux_loss_beta: the auxiliary loss needs one field of sampled negatives and "
                    f"one of behaviours per target field {group.target}, found {group.negative} "
                    f"and {group.sequence}. Mend neg_seq_field or set aux_loss_beta: 0."
                )
        if problems:
            raise ConfigError(problems)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict a batch: ``y_pred`` (B, 1) float, and ``aux_loss`` () while training with it."""
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)
        kept = {name: field for name, field in fields.items() if name not in self.pooled_fields}
        parts = [self.embedding_layer.dict2tensor(kept, flatten_emb=True)]
        aux_losses: list[Tensor] = []
        for index in range(len(self.groups)):
            parts += self._sequence_parts(index, features, fields, aux_losses)
        result = {"y_pred": self.dnn(torch.cat(parts, dim=-1))}
        if aux_losses:
            result["aux_loss"] = torch.stack(aux_losses).sum()
        return result

    def _sequence_parts(
        self,
        index: int,
        features: Mapping[str, Tensor],
        fields: Mapping[str, Tensor],
        aux_losses: list[Tensor],
    ) -> list[Tensor]:
        """What one group adds to the DNN's input; its auxiliary loss is added to the list."""
        group = self.groups[index]
        mask = features[group.sequence[0]] != 0
        sequence = zero_padding(concat_sequences(fields, group.sequence), mask)
        target = concat_fields(fields, group.target)
        names = self.contexts[index]
        context = [concat_sequences(fields, names)] if names else []
        pooled, relevance = self.item_to_item[index](sequence, target, mask, context)
        parts = [pooled]
        if self.enable_i2i_rel:
            parts.append(relevance)
        if self.user_to_item:
            user = self.user_to_item[index](sequence, mask, context)
            item = self.output_tables(group.target, [features[name] for name in group.target])
            parts.append((user * item).sum(dim=-1, keepdim=True))
            if self.training and self.aux_loss_beta > 0:
                before = self.user_to_item[index](sequence, mask & ~newest(mask), context)
                aux_losses.append(self._auxiliary_loss(group, features, before, mask))
        if self.enable_sum_pooling:
            total = sequence.sum(dim=1)
            parts += [total, target * total]
        return parts

    def _auxiliary_loss(
        self, group: SequenceGroup, features: Mapping[str, Tensor], before: Tensor, mask: Tensor
    ) -> Tensor:
        """Loss () of telling the newest behaviour from a sampled one by the older ones."""
        actual = newest_ids(features, group.sequence, mask)
        sampled = newest_ids(features, group.negative, mask)
        valid = (mask.sum(dim=1) > 1) & (sampled[0] != 0)
        return match_loss(
            before,
            self.output_tables(group.target, actual),
            self.output_tables(group.target, sampled),
            valid,
        )

    def add_loss(self, return_dict: Mapping[str, Tensor], y_true: Tensor) -> Tensor:
        """Task loss plus the weighted auxiliary loss, () float."""
        loss: Tensor = super().add_loss(return_dict, y_true)
        if "aux_loss" in return_dict:
            loss = loss + self.aux_loss_beta * return_dict["aux_loss"]
        return loss
