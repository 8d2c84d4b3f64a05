"""DMR's sequence modules: how much a user's behaviours speak for the target.

They are the paper's "User-to-Item Network" and "Item-to-Item Network". An MLP on
[q, s, q - s, q * s] scores a behaviour s; the query q is made of position, context and target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.sequence_model import ScoreSettings
from fuxictr_loopfm.layers.base import masked_softmax, zero_padding
from fuxictr_loopfm.layers.behaviours import newest, places, telling_apart_loss, weighted_sum
from fuxictr_loopfm.layers.groups import FieldSetting, SequenceGroup, field_groups, field_width
from fuxictr_loopfm.layers.target_attention import score_pairs

EMBEDDING_STD = 1e-4


@dataclass(frozen=True)
class RelevanceSettings:
    """What the sequence modules of one model share.

    Attributes:
        scores: the score networks.
        pos_emb_dim: width of a position.
    """

    scores: ScoreSettings
    pos_emb_dim: int


class PositionalAttention(nn.Module):
    """Raw scores of behaviours against a query that differs by position.

    The query is made of the behaviour's position, its context and, for ``ItemToItem``, the target.

    Args:
        group: the sequence module's fields.
        settings: shared settings.
        given: width of what ``forward`` is given beside the position.
        use_position: whether the position joins the query.
    """

    def __init__(
        self, group: SequenceGroup, settings: RelevanceSettings, given: int, use_position: bool
    ) -> None:
        super().__init__()
        self.position: nn.Embedding | None = None
        if use_position:
            self.position = nn.Embedding(group.max_len, settings.pos_emb_dim)
            # Not zeros: a ReLU of exactly 0 passes no gradient, so a query made of the position
            # alone would stay 0 for ever.
            nn.init.normal_(self.position.weight, std=EMBEDDING_STD)
            given += settings.pos_emb_dim
        self.query = nn.Linear(given, group.width)
        self.score = settings.scores.network(group.width)

    def forward(self, sequence: Tensor, mask: Tensor, given: list[Tensor]) -> Tensor:
        """Scores (B, L) of sequence (B, L, D).

        ``given`` holds tensors (B, L, width) for the query; ``mask`` (B, L) places the behaviours.
        """
        if self.position is not None:
            given = [*given, self.position(places(mask))]
        query = F.relu(self.query(torch.cat(given, dim=-1)))
        return score_pairs(self.score.mlp, query, sequence)


class ItemToItem(nn.Module):
    """Behaviours weighed against the target, and the sum of their raw scores as a relevance.

    Args:
        group: the sequence module's fields.
        settings: shared settings.
        context_width: width of a behaviour's context, 0 for none.
        use_position: whether positions enter the query.
    """

    def __init__(
        self,
        group: SequenceGroup,
        settings: RelevanceSettings,
        context_width: int,
        use_position: bool,
    ) -> None:
        super().__init__()
        given = group.width + context_width
        self.attention = PositionalAttention(group, settings, given, use_position)

    def forward(
        self, sequence: Tensor, target: Tensor, mask: Tensor, context: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Sequence (B, L, D) for target (B, D): pooled (B, D) and relevance (B, 1).

        ``mask`` is (B, L); ``context`` holds tensors (B, L, width). No behaviour gives zeros.
        """
        by_position = target.unsqueeze(1).expand(-1, mask.shape[1], -1)
        scores = self.attention(sequence, mask, [by_position, *context])
        weight = masked_softmax(scores, mask)
        relevance = scores.masked_fill(~mask, 0.0).sum(dim=1, keepdim=True)
        return weighted_sum(weight, sequence), relevance


class UserToItem(nn.Module):
    """A user vector from behaviours and their positions, without a look at the target.

    Args:
        group: the sequence module's fields.
        settings: shared settings.
        context_width: width of a behaviour's context, 0 for none.
    """

    def __init__(
        self, group: SequenceGroup, settings: RelevanceSettings, context_width: int
    ) -> None:
        super().__init__()
        self.attention = PositionalAttention(group, settings, context_width, use_position=True)
        self.output = nn.Linear(group.width, group.width)

    def forward(self, sequence: Tensor, mask: Tensor, context: list[Tensor]) -> Tensor:
        """User (B, D) by sequence (B, L, D) under ``mask`` (B, L); no behaviour gives zeros.

        ``context`` holds tensors (B, L, width).
        """
        weight = masked_softmax(self.attention(sequence, mask, context), mask)
        user = F.relu(self.output(weighted_sum(weight, sequence)))
        return zero_padding(user, mask.any(dim=1))


class OutputTables(nn.Module):
    """A second embedding table per target field, for the item as it is matched to a user.

    Args:
        features: the feature map's entries by name.
        embedding_dim: width of a field that states none itself.
        names: target fields.
    """

    def __init__(
        self, features: Mapping[str, Mapping[str, Any]], embedding_dim: int, names: Iterable[str]
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleDict()
        for name in dict.fromkeys(names):
            width = field_width(features[name], embedding_dim)
            table = nn.Embedding(features[name]["vocab_size"], width, padding_idx=0)
            nn.init.normal_(table.weight[1:], std=EMBEDDING_STD)
            self.tables[name] = table

    def forward(self, names: Iterable[str], ids: Iterable[Tensor]) -> Tensor:
        """Output embeddings side by side of one id (B,) per target field, (B, sum of widths)."""
        parts = [self.tables[name](i.long()) for name, i in zip(names, ids, strict=True)]
        return torch.cat(parts, dim=-1)


def newest_ids(features: Mapping[str, Tensor], names: Sequence[str], mask: Tensor) -> list[Tensor]:
    """Ids (B,) of the fields at the last valid position of ``mask`` (B, L), 0 without any."""
    chosen = newest(mask)
    return [(features[name] * chosen).sum(dim=1) for name in names]


def match_loss(user: Tensor, actual: Tensor, sampled: Tensor, valid: Tensor) -> Tensor:
    """How badly a user tells the next actual behaviour from a sampled one.

    Binary cross entropy of inner products, () float, averaged over actual and sampled; 0 if none
    is valid.

    Args:
        user, actual, sampled: (B, D) float.
        valid: (B,) bool, samples that count.
    """
    return telling_apart_loss((user * actual).sum(-1)[valid], (user * sampled).sum(-1)[valid])


def context_groups(
    features: Mapping[str, Mapping[str, Any]],
    setting: FieldSetting,
    max_lens: Sequence[int],
) -> list[tuple[str, ...]]:
    """Context fields of each sequence, as many groups as there are sequences; null is none.

    Args:
        features: the feature map's entries by name.
        setting: sequences that describe the behaviours, such as their type.
        max_lens: lengths of the sequences they go with.

    Raises:
        ConfigError: unequal numbers of groups, or a field that is no sequence of that length.
    """
    groups = field_groups(setting)
    if not groups:
        return [()] * len(max_lens)
    if len(groups) != len(max_lens):
        raise ConfigError(
            f"context_field: expected null or as many groups as sequences, {len(max_lens)}, found "
            f"{len(groups)} {groups}."
        )
    problems = []
    for names, length in zip(groups, max_lens, strict=True):
        for name in names:
            found = features.get(name, {}).get("max_len")
            if found != length:
                problems.append(
                    f"context_field {name!r}: expected a sequence of max_len {length}, as the "
                    f"behaviours it describes, found {found}."
                )
    if problems:
        raise ConfigError(problems)
    return groups
