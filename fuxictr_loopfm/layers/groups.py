"""Reads from a model's settings which target fields it weighs against which behaviour sequences.

DIN, DIEN, DMR and DMIN name them alike: ``din_target_field: [item, [cate, brand]]`` beside
``din_sequence_field: [item_his, [cate_his, brand_his]]`` makes two sequence modules, the second on
two fields side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fuxictr_loopfm.errors import ConfigError

FieldSetting = str | tuple[str, ...] | list[Any] | None


@dataclass(frozen=True)
class SequenceGroup:
    """One sequence module of a model: fields are concatenated position by position.

    Attributes:
        target: fields of the candidate.
        sequence: sequences of past behaviour; padding is read from the first one's zeros.
        negative: sequences of the same shape with sampled negatives, or empty.
        width: width of the concatenated target, equal to that of the sequence.
        max_len: length of the sequences.
    """

    target: tuple[str, ...]
    sequence: tuple[str, ...]
    negative: tuple[str, ...]
    width: int
    max_len: int


def field_groups(setting: FieldSetting) -> list[tuple[str, ...]]:
    """Groups named by a setting, one per sequence module.

    A string or a tuple is one group. In a list every entry is a group of its own: a string is a
    group of one field, a tuple or a nested list is a concatenated group. Null and empty are none.

    Args:
        setting: as the configuration has it.

    Returns:
        The names of each group's fields, never an empty group.

    Raises:
        ConfigError: an entry is neither a name nor a flat group of names.
    """
    entries: list[Any] = []
    if isinstance(setting, list):
        entries = setting
    elif setting:
        entries = [setting]
    groups = [(entry,) if isinstance(entry, str) else tuple(entry) for entry in entries]
    for group in groups:
        if not group or not all(isinstance(name, str) for name in group):
            raise ConfigError(
                f"fields: expected a name, or a list of names and of groups of names, found "
                f"{setting!r}."
            )
    return groups


def sequence_groups(
    features: Mapping[str, Mapping[str, Any]],
    embedding_dim: int,
    target: FieldSetting,
    sequence: FieldSetting,
    negative: FieldSetting = None,
) -> list[SequenceGroup]:
    """Match target fields with sequences and check both against the features.

    Args:
        features: the feature map's entries by name.
        embedding_dim: width of a field that states none itself.
        target: setting of the target fields; null or empty for a model without sequences.
        sequence: setting of the sequences, as many groups as ``target``.
        negative: setting of the negatives, as many groups as ``sequence``, or none.

    Returns:
        A group per sequence module, in the order of the settings.

    Raises:
        ConfigError: every problem found: unequal numbers of groups, unknown fields, a sequence
            that is none, unequal widths, a sequence no module pools.
    """
    targets, sequences, negatives = map(field_groups, (target, sequence, negative))
    problems = []
    if len(targets) != len(sequences):
        problems.append(
            f"target and sequence fields: expected as many groups of one as of the other, found "
            f"{len(targets)} {targets} and {len(sequences)} {sequences}."
        )
    if negatives and len(negatives) != len(sequences):
        problems.append(
            f"negative sequence fields: expected none or {len(sequences)} groups, found "
            f"{len(negatives)} {negatives}."
        )
    named: list[str] = []
    for group in (*targets, *sequences, *negatives):
        named += group
    for name in dict.fromkeys(named):
        if name not in features:
            problems.append(f"field {name!r}: no such feature; found {list(features)}.")
    if problems:
        raise ConfigError(problems)
    problems += _unpooled(features, named)
    padded = negatives or [()] * len(sequences)
    groups = []
    for parts in zip(targets, sequences, padded, strict=True):
        groups.append(_group(features, embedding_dim, *parts, problems))
    if problems:
        raise ConfigError(problems)
    return groups


def field_width(spec: Mapping[str, Any], embedding_dim: int) -> int:
    """Width of a field's embedding as FuxiCTR counts it; ``embedding_dim`` unless stated."""
    return int(spec.get("emb_output_dim") or spec.get("embedding_dim") or embedding_dim)


def concat_fields(embeddings: Mapping[str, Tensor], names: Iterable[str]) -> Tensor:
    """Embeddings of the named fields side by side.

    Args:
        embeddings: float32 by field, all (B, width) or all sequences (B, L, width).
        names: at least one.

    Returns:
        (B, sum of widths) or (B, L, sum of widths).
    """
    parts = [embeddings[name] for name in names]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def concat_sequences(embeddings: Mapping[str, Tensor], names: Iterable[str]) -> Tensor:
    """Embedded sequences side by side.

    Args:
        embeddings: float32 by field; a sequence is (B, L, width).
        names: at least one sequence.

    Returns:
        (B, L, sum of widths).

    Raises:
        ConfigError: a feature encoder has already pooled one of them.
    """
    names = list(names)
    pooled = [name for name in names if embeddings[name].dim() != 3]
    if pooled:
        raise ConfigError(
            f"sequences {pooled}: a sequence module needs them unpooled, but their feature_encoder "
            f"pools them. Set feature_specs: [{{name: [{', '.join(pooled)}], feature_encoder: "
            f"null}}] in the model's configuration."
        )
    return concat_fields(embeddings, names)


def _group(
    features: Mapping[str, Mapping[str, Any]],
    embedding_dim: int,
    target: tuple[str, ...],
    sequence: tuple[str, ...],
    negative: tuple[str, ...],
    problems: list[str],
) -> SequenceGroup:
    def width(names: tuple[str, ...]) -> int:
        return sum(field_width(features[name], embedding_dim) for name in names)

    for names in (sequence, negative):
        if names and width(names) != width(target):
            problems.append(
                f"sequence {names}: expected the width {width(target)} of its target {target}, "
                f"found {width(names)}."
            )
    lengths = {name: features[name].get("max_len") for name in (*sequence, *negative)}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        problems.append(f"sequence {sequence}: expected sequences of one max_len, found {lengths}.")
    return SequenceGroup(target, sequence, negative, width(target), lengths[sequence[0]] or 0)


def _unpooled(features: Mapping[str, Mapping[str, Any]], used: list[str]) -> list[str]:
    return [
        f"sequence {name!r}: it has no feature_encoder and no sequence module reads it. Name it in "
        f"the sequence fields, drop it by use_features, or pool it with feature_encoder: "
        f"layers.MaskedAveragePooling()."
        for name, spec in features.items()
        if spec["type"] == "sequence" and not spec.get("feature_encoder") and name not in used
    ]
