"""Which behaviour sequences a model of a zoo reads, under which of its keys, from a data set.

A FuxiCTR model names its sequences in params such as ``din_target_field: adgroup_id`` and
``din_sequence_field: click_sequence``, each model in its own. Its ``<Model>_default`` shows which
params these are; what they should say follows from the prepared data set: the column whose values
a sequence holds, and the sequence. A sequence whose values are no column's (``of: null``) has no
target to be compared with: every model gets the average of its embeddings, as one feature more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr_loopfm.config.zoo import field_role, named_fields
from fuxictr_loopfm.prepared.dataset import DatasetSpec, SequenceColumn

# FuxiCTR's DIEN takes the first n steps for the n behaviours; all others read either side or the
# newest steps, which stand at the end where the padding is in front.
PADDING_AT_THE_END = frozenset({"DIEN"})
# TransAct's constructor counts the width of its last sequence only.
READS_ONE_SEQUENCE = frozenset({"TransAct"})


def sequences_of(
    spec: DatasetSpec, view: str, own_sequences: bool = False
) -> tuple[SequenceColumn, ...]:
    """The sequences that a view has; with ``own_sequences`` also those of the teacher alone."""
    return tuple(s for s in spec.sequences if own_sequences or view in s.views)


def pooled(sequence: SequenceColumn, padding: str) -> dict[str, Any]:
    """The entry of ``feature_cols`` that gives a model the average of a sequence's embeddings.

    Args:
        sequence: one without ``of`` gets an embedding table of its own.
        padding: the side on which it is padded.
    """
    shared = {} if sequence.of is None else {"share_embedding": sequence.of}
    return {
        **{"name": sequence.name, "active": True, "dtype": "str", "type": "sequence"},
        **shared,
        **{"max_len": sequence.max_len, "padding": padding},
        "feature_encoder": "layers.MaskedAveragePooling()",
    }


def needs_sequence(defaults: Mapping[str, Any]) -> bool:
    """True if a model's own defaults name a sequence, so that it cannot be built without one."""
    return any(value for key, value in defaults.items() if field_role(key) == "sequence")


def sequence_fields(
    model: str, defaults: Mapping[str, Any], sequences: Sequence[SequenceColumn]
) -> dict[str, Any]:
    """Values of the params that name a model's targets and sequences.

    Args:
        model: its class.
        defaults: its ``<Model>_default``, which shows what the params are called.
        sequences: what its view has.

    Returns:
        Lists of columns and of sequences, null where there is none. A prepared data set samples no
        negatives: these params keep an empty default, be it null or [], and else become null.
    """
    read = _read_by(model, sequences)
    values = {"target": [s.of for s in read] or None, "sequence": [s.name for s in read] or None}
    return {
        key: values.get(str(field_role(key)), None if value else value)
        for key, value in named_fields(defaults).items()
    }


def unpooled(
    model: str, fields: Mapping[str, Any], sequences: Sequence[SequenceColumn]
) -> list[dict[str, Any]] | None:
    """``feature_specs`` under which a model gets its sequences step by step; null without any.

    Args:
        model: its class.
        fields: see ``sequence_fields``.
        sequences: what its view has.
    """
    if not any(field_role(key) == "sequence" for key in fields):
        return None
    read = _read_by(model, sequences)
    return [{"name": each.name, "feature_encoder": None} for each in read] or None


def padding_of(model: str) -> str:
    """The side on which a model expects its sequences to be padded."""
    return "post" if model in PADDING_AT_THE_END else "pre"


def with_target(sequences: Sequence[SequenceColumn]) -> list[SequenceColumn]:
    """Those whose values are a column's, so that a model can compare them with its value."""
    return [each for each in sequences if each.of is not None]


def _read_by(model: str, sequences: Sequence[SequenceColumn]) -> list[SequenceColumn]:
    readable = with_target(sequences)
    return readable[:1] if model in READS_ONE_SEQUENCE else readable
