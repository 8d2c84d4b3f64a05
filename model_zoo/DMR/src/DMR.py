"""DMR: a ranker that also matches users to items (Lyu et al., AAAI 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.sequence_model import ScoreSettings, SequenceModel
from fuxictr_loopfm.layers.base import zero_padding
from fuxictr_loopfm.layers.behaviours import newest, sum_and_product
from fuxictr_loopfm.layers.groups import (
    FieldSetting,
    SequenceGroup,
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
    newest_ids,
)


class DMR(SequenceModel):
    """Behaviour sequences pooled against the target and matched to it, then a DNN on all fields.

    ``SequenceModel`` says what padding is, what else goes into the DNN, and what the common
    arguments mean.

    Args:
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
        settings = RelevanceSettings(
            scores=ScoreSettings(attention_hidden_units, attention_activation, attention_dropout),
            pos_emb_dim=pos_emb_dim,
        )
        features = feature_map.features
        context = {name for names in field_groups(context_field) for name in names}
        behaviours = {name for names in field_groups(sequence_field) for name in names}
        # A sequence that only describes behaviours is read here, not by the groups.
        others = {
            name: spec
            for name, spec in features.items()
            if name not in context - behaviours or spec["type"] != "sequence"
        }
        groups = sequence_groups(others, embedding_dim, target_field, sequence_field, neg_seq_field)
        contexts = context_groups(features, context_field, [g.max_len for g in groups])
        own = {"model_id": model_id, "gpu": gpu, "aux_weight": aux_loss_beta}
        super().__init__(feature_map, groups, embedding_dim, context=context, **own, **kwargs)
        self.enable_sum_pooling = enable_sum_pooling
        self.enable_i2i_rel = enable_i2i_rel
        self.contexts = contexts
        self._check_auxiliary_loss(enable_u2i_rel)
        self.item_to_item, self.user_to_item = nn.ModuleList(), nn.ModuleList()
        for group, names in zip(groups, contexts, strict=True):
            width = sum(field_width(features[name], embedding_dim) for name in names)
            self.item_to_item.append(ItemToItem(group, settings, width, use_pos_emb))
            if enable_u2i_rel:
                self.user_to_item.append(UserToItem(group, settings, width))
        targets = [name for group in groups for name in group.target]
        with_tables = enable_u2i_rel or legacy_output_tables
        self.output_tables = OutputTables(features, embedding_dim, targets if with_tables else ())
        relevances = enable_u2i_rel + enable_i2i_rel
        added = sum(g.width * (1 + 2 * enable_sum_pooling) + relevances for g in groups)
        self.dnn = self.build_dnn(
            added, dnn_hidden_units, dnn_activations, net_dropout, batch_norm, bn_only_once
        )
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def _check_auxiliary_loss(self, enable_u2i_rel: bool) -> None:
        if self.aux_weight <= 0:
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
        parts, aux_losses = [self.other_fields(fields)], []
        for index, (group, names) in enumerate(zip(self.groups, self.contexts, strict=True)):
            target, sequence, mask = self.behaviours(group, features, fields)
            sequence = zero_padding(sequence, mask)
            context = [concat_sequences(fields, names)] if names else []
            pooled, relevance = self.item_to_item[index](sequence, target, mask, context)
            parts.append(pooled)
            if self.enable_i2i_rel:
                parts.append(relevance)
            if self.user_to_item:
                user = self.user_to_item[index](sequence, mask, context)
                item = self.output_tables(group.target, [features[name] for name in group.target])
                parts.append((user * item).sum(dim=-1, keepdim=True))
                if self.learns_auxiliary:
                    before = self.user_to_item[index](sequence, mask & ~newest(mask), context)
                    aux_losses.append(self._auxiliary_loss(group, features, before, mask))
            if self.enable_sum_pooling:
                parts.append(sum_and_product(sequence, target))
        return self.predicted(parts, aux_losses)

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
