"""What models share that pool behaviour sequences and hand them with all other fields to a DNN.

A subclass shows what is its own. Its ``__init__`` builds the sequence modules after the embeddings,
which are made here, and before ``build_dnn``: weights are drawn from the seed in the order in which
modules are made, so that order is part of a model. Its ``forward`` takes ``behaviours`` through
those modules and ends in ``predicted``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.groups import (
    SequenceGroup,
    concat_fields,
    concat_sequences,
    field_width,
)

Activation = str | list[str]


@dataclass(frozen=True)
class ScoreSettings:
    """The network that scores a behaviour against a query, see ``score_pairs``.

    Attributes:
        hidden_units: widths of its hidden layers.
        activation: their activation. Dice normalises over all positions of a batch, padding
            included, as in FuxiCTR.
        dropout: probability after every hidden layer.
        output_activation: activation of the score, None for a raw score.
    """

    hidden_units: Sequence[int]
    activation: Activation
    dropout: float
    output_activation: str | None = None

    def network(self, width: int) -> MLP_Block:
        """A score network for queries and behaviours of ``width``, (N, 4 * width) to (N, 1)."""
        return MLP_Block(
            input_dim=4 * width,
            output_dim=1,
            hidden_units=list(self.hidden_units),
            hidden_activations=self.activation,
            output_activation=self.output_activation,
            dropout_rates=self.dropout,
        )


class SequenceModel(BaseModel):
    """A FuxiCTR model with behaviour sequences, a DNN, and perhaps an auxiliary loss.

    A sequence's padding is where its first field is 0, on either side. Every two-dimensional
    field, a history of the host included, goes into the DNN.

    All models understand these settings, beside their own and those of FuxiCTR: ``model_id``, the
    checkpoint's name; ``gpu``, -1 for the CPU; ``learning_rate``; ``embedding_dim``, the width of a
    field that states none itself; ``dnn_hidden_units`` and ``dnn_activations``; ``net_dropout``,
    the probability after every hidden layer of the DNN and of auxiliary networks; ``batch_norm``
    and ``bn_only_once``, whether the DNN is batch-normalised, and whether at its input only.

    Args:
        feature_map: features of the data set.
        groups: what each sequence module reads, see ``sequence_groups``.
        embedding_dim: see above.
        context: sequences that a module reads beside its group.
        aux_weight: weight of the auxiliary loss, 0 for none.
        **kwargs: FuxiCTR's settings: optimizer, loss, regularizers, metrics and so on.

    Attributes:
        groups: as given.
        pooled_fields: sequences that reach the DNN through a sequence module only.
        other_width: width of all other fields' embeddings side by side.
        aux_weight: as given.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        groups: Sequence[SequenceGroup],
        embedding_dim: int,
        *,
        context: Collection[str] = (),
        aux_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_map, **kwargs)
        self.groups = groups
        self.pooled_fields = {name for g in groups for name in (*g.sequence, *g.negative)}
        self.pooled_fields |= set(context)
        self.aux_weight = aux_weight
        self.embedding_layer = FeatureEmbeddingDict(feature_map, embedding_dim)
        features = feature_map.features
        pooled = sum(field_width(features[name], embedding_dim) for name in self.pooled_fields)
        self.other_width = feature_map.sum_emb_out_dim() - pooled

    def auxiliary_networks(
        self,
        hidden_units: Sequence[int],
        activation: Activation,
        dropout: float,
        *,
        weight_key: str,
        negatives_key: str,
    ) -> nn.ModuleList:
        """One network per group, (N, 2 * width) to logits (N, 1); none without auxiliary loss.

        Args:
            hidden_units, activation, dropout: of the networks' hidden layers.
            weight_key, negatives_key: what the model's settings call the loss's weight and the
                sampled negatives.

        Raises:
            ConfigError: a group has no negatives.
        """
        networks = nn.ModuleList()
        for group in self.groups if self.aux_weight > 0 else ():
            if not group.negative:
                raise ConfigError(
                    f"{weight_key}: the auxiliary loss needs sampled negatives for the sequence "
                    f"{group.sequence}, found none. Name them in {negatives_key} or set "
                    f"{weight_key}: 0."
                )
            # No batch normalisation here: the positions of a sequence are no independent sample.
            network = MLP_Block(
                input_dim=2 * group.width,
                output_dim=1,
                hidden_units=list(hidden_units),
                hidden_activations=activation,
                dropout_rates=dropout,
            )
            networks.append(network)
        return networks

    def build_dnn(
        self,
        added_width: int,
        hidden_units: Sequence[int],
        activation: Activation,
        dropout: float,
        batch_norm: bool,
        bn_only_once: bool = False,
    ) -> MLP_Block:
        """The DNN on all fields, (B, other_width + added_width) to predictions (B, 1).

        Args:
            added_width: what the sequence modules add to the fields that they do not pool.
            hidden_units, activation, dropout: of its hidden layers.
            batch_norm: whether it is batch-normalised.
            bn_only_once: whether that is done at its input only.
        """
        return MLP_Block(
            input_dim=self.other_width + added_width,
            output_dim=1,
            hidden_units=list(hidden_units),
            hidden_activations=activation,
            output_activation=self.output_activation,
            dropout_rates=dropout,
            batch_norm=batch_norm,
            bn_only_once=bn_only_once,
        )

    def behaviours(
        self, group: SequenceGroup, features: Mapping[str, Tensor], fields: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A group's embedded target (B, D) and sequence (B, L, D), and its mask (B, L) bool.

        Args:
            group: one of ``groups``.
            features: the batch's ids by field.
            fields: their embeddings.
        """
        mask = features[group.sequence[0]] != 0
        return concat_fields(fields, group.target), concat_sequences(fields, group.sequence), mask

    def negatives(
        self, group: SequenceGroup, features: Mapping[str, Tensor], fields: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """A group's embedded sampled negatives (B, L, D), and where there are any, (B, L) bool."""
        return concat_sequences(fields, group.negative), features[group.negative[0]] != 0

    def other_fields(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embeddings of the fields that no sequence module pools, (B, other_width)."""
        kept = {name: field for name, field in fields.items() if name not in self.pooled_fields}
        return self.embedding_layer.dict2tensor(kept, flatten_emb=True)

    @property
    def learns_auxiliary(self) -> bool:
        """Whether this pass adds an auxiliary loss: only in training, only with a weight."""
        return self.training and self.aux_weight > 0

    def predicted(self, parts: Sequence[Tensor], aux_losses: Sequence[Tensor]) -> dict[str, Tensor]:
        """The result of a forward pass.

        Args:
            parts: the DNN's input, each (B, width).
            aux_losses: one () per group, or none.

        Returns:
            ``y_pred`` (B, 1) float, and ``aux_loss`` () if there are auxiliary losses.
        """
        result = {"y_pred": self.dnn(torch.cat(list(parts), dim=-1))}
        if aux_losses:
            result["aux_loss"] = torch.stack(list(aux_losses)).sum()
        return result

    def add_loss(self, return_dict: Mapping[str, Tensor], y_true: Tensor) -> Tensor:
        """Task loss plus the weighted auxiliary loss, () float."""
        loss: Tensor = super().add_loss(return_dict, y_true)
        if "aux_loss" in return_dict:
            loss = loss + self.aux_weight * return_dict["aux_loss"]
        return loss
