"""DIN: behaviour sequences weighed against the target (Zhou et al., KDD 2018, arXiv:1706.06978)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor, nn

from fuxictr_loopfm.host.sequence_model import ScoreSettings, SequenceModel
from fuxictr_loopfm.layers.groups import FieldSetting, sequence_groups
from fuxictr_loopfm.layers.packing import Packing
from fuxictr_loopfm.layers.target_attention import score_behaviours


class TargetAttention(nn.Module):
    """Weighted sum of a sequence; an MLP scores each position against the target.

    The local activation unit of the paper's section 4.3: sum over j of a(s_j, q) s_j.

    Args:
        width: width D of target and sequence.
        scores: the network a.
        use_softmax: whether weights are normalised over the valid positions.
    """

    def __init__(self, width: int, scores: ScoreSettings, use_softmax: bool) -> None:
        super().__init__()
        self.use_softmax = use_softmax
        self.score = scores.network(width)

    def forward(self, target: Tensor, sequence: Tensor, mask: Tensor) -> Tensor:
        """Pool sequence (B, L, D) under ``mask`` (B, L) for target (B, D); returns (B, D)."""
        packing = Packing(mask)
        behaviours = packing.pack(sequence)
        weight = score_behaviours(self.score.mlp, target, behaviours, packing).unsqueeze(1)
        if self.use_softmax:
            weight = packing.spans.softmax(weight)
        return packing.spans.sum(weight * behaviours)


class DIN(SequenceModel):
    """Target attention over behaviour sequences, then a DNN on all fields.

    ``SequenceModel`` says what padding is, what else goes into the DNN, and what the common
    arguments mean.

    Args:
        attention_hidden_units: widths of the score MLP's hidden layers.
        attention_hidden_activations: their activation.
        attention_output_activation: activation of the score, None for a raw score.
        attention_dropout: probability inside the score MLP.
        din_target_field: target fields, see ``field_groups``; null for no sequence module.
        din_sequence_field: sequences, as many groups as ``din_target_field``.
        din_use_softmax: whether attention weights are normalised.

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
        groups = sequence_groups(
            feature_map.features, embedding_dim, din_target_field, din_sequence_field
        )
        super().__init__(feature_map, groups, embedding_dim, model_id=model_id, gpu=gpu, **kwargs)
        scores = ScoreSettings(
            attention_hidden_units,
            attention_hidden_activations,
            attention_dropout,
            attention_output_activation,
        )
        self.attention_layers = nn.ModuleList(
            TargetAttention(group.width, scores, din_use_softmax) for group in groups
        )
        # Each sequence gives way to an interest of its own width.
        pooled_width = feature_map.sum_emb_out_dim() - self.other_width
        self.dnn = self.build_dnn(
            pooled_width, dnn_hidden_units, dnn_activations, net_dropout, batch_norm
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
            interest = attention(*self.behaviours(group, features, fields))
            widths = [fields[name].shape[-1] for name in group.sequence]
            pooled.update(zip(group.sequence, interest.split(widths, dim=-1), strict=True))
        fields.update(pooled)
        return {"y_pred": self.dnn(self.embedding_layer.dict2tensor(fields, flatten_emb=True))}
