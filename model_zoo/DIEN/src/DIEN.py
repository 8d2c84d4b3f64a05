"""DIEN: interests that evolve towards the target (Zhou et al., AAAI 2019, arXiv:1809.03672)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor, nn

from fuxictr_loopfm.host.sequence_model import ScoreSettings, SequenceModel
from fuxictr_loopfm.layers.groups import FieldSetting, sequence_groups

from .evolution import EvolutionSettings, InterestEvolution, auxiliary_loss


class DIEN(SequenceModel):
    """Behaviour sequences pooled by two recurrences, then a DNN on all fields.

    The first recurrence extracts an interest at every behaviour (the paper's "Interest Extractor
    Layer", with the auxiliary loss), the second lets them evolve towards the target ("Interest
    Evolving Layer"). ``SequenceModel`` says what padding is, what else goes into the DNN, and what
    the common arguments mean.

    Args:
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
        settings = EvolutionSettings(
            gru_type=gru_type,
            attention_type=attention_type,
            scores=ScoreSettings(attention_hidden_units, attention_activation, attention_dropout),
            use_attention_softmax=use_attention_softmax,
            sum_pooling=enable_sum_pooling,
        )
        groups = sequence_groups(
            feature_map.features,
            embedding_dim,
            dien_target_field,
            dien_sequence_field,
            dien_neg_seq_field,
        )
        own = {"model_id": model_id, "gpu": gpu, "aux_weight": aux_loss_alpha}
        super().__init__(feature_map, groups, embedding_dim, **own, **kwargs)
        self.evolutions = nn.ModuleList(InterestEvolution(group, settings) for group in groups)
        self.aux_net = self.auxiliary_networks(
            aux_hidden_units,
            aux_activation,
            net_dropout,
            weight_key="aux_loss_alpha",
            negatives_key="dien_neg_seq_field",
        )
        added = sum(evolution.output_dim for evolution in self.evolutions)
        self.dnn = self.build_dnn(added, dnn_hidden_units, dnn_activations, net_dropout, batch_norm)
        self.compile(kwargs["optimizer"], kwargs["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict a batch: ``y_pred`` (B, 1) float, and ``aux_loss`` () while training with it."""
        features = self.get_inputs(inputs)
        fields = self.embedding_layer(features)
        parts, aux_losses = [self.other_fields(fields)], []
        for index, (group, evolve) in enumerate(zip(self.groups, self.evolutions, strict=True)):
            target, sequence, mask = self.behaviours(group, features, fields)
            evolution = evolve(sequence, target, mask)
            parts.append(evolution.pooled)
            if self.learns_auxiliary:
                sampled, known = self.negatives(group, features, fields)
                loss = auxiliary_loss(self.aux_net[index], evolution, sequence, sampled, known)
                aux_losses.append(loss)
        return self.predicted(parts, aux_losses)
