"""DMIN: several interests per behaviour sequence (Xiao et al., CIKM 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor, nn

from fuxictr_loopfm.host.sequence_model import ScoreSettings, SequenceModel
from fuxictr_loopfm.layers.behaviours import next_behavior_loss
from fuxictr_loopfm.layers.groups import FieldSetting, sequence_groups
from fuxictr_loopfm.layers.packing import Packing

from .interests import InterestExtractor, InterestSettings


class DMIN(SequenceModel):
    """Behaviour sequences turned into interests by self-attention and target attention.

    ``SequenceModel`` says what padding is, what else goes into the DNN, and what the common
    arguments mean.

    Args:
        aux_hidden_units: widths of the auxiliary network's hidden layers.
        aux_activation: their activation.
        net_dropout: also the probability after self-attention.
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
        layer_norm: whether self-attention ends in a layer normalisation.
        legacy_mask: reproduce FuxiCTR's refiner, which raises the scores of padding and of later
            behaviours by 1 instead of excluding them. Only for comparison with BARS.

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
        settings = InterestSettings(
            num_heads=num_heads,
            net_dropout=net_dropout,
            layer_norm=layer_norm,
            scores=ScoreSettings(attention_hidden_units, attention_activation, attention_dropout),
            pos_emb_dim=pos_emb_dim if use_pos_emb else None,
            legacy_mask=legacy_mask,
        )
        groups = sequence_groups(
            feature_map.features, embedding_dim, target_field, sequence_field, neg_seq_field
        )
        own = {"model_id": model_id, "gpu": gpu, "aux_weight": aux_loss_lambda}
        super().__init__(feature_map, groups, embedding_dim, **own, **kwargs)
        self.extractors = nn.ModuleList(
            InterestExtractor(group, settings, use_behavior_refiner, enable_sum_pooling)
            for group in groups
        )
        self.aux_net = self.auxiliary_networks(
            aux_hidden_units,
            aux_activation,
            net_dropout,
            weight_key="aux_loss_lambda",
            negatives_key="neg_seq_field",
        )
        added = sum(extractor.output_dim for extractor in self.extractors)
        self.dnn = self.build_dnn(
            added, dnn_hidden_units, dnn_activations, net_dropout, batch_norm, bn_only_once
        )
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict a batch: ``y_pred`` (B, 1) float, and ``aux_loss`` () while training with it."""
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)
        parts, aux_losses = [self.other_fields(fields)], []
        for index, (group, extract) in enumerate(zip(self.groups, self.extractors, strict=True)):
            target, sequence, mask = self.behaviours(group, features, fields)
            packing = Packing(mask)
            interests, refined = extract(sequence, target, packing)
            parts.append(interests)
            if self.learns_auxiliary:
                sampled, known = self.negatives(group, features, fields)
                network = self.aux_net[index]
                states = packing.unpack(refined)
                loss = next_behavior_loss(network, states, sequence, sampled, mask, known)
                aux_losses.append(loss)
        return self.predicted(parts, aux_losses)
