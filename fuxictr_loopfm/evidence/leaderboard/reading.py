"""What a run was given beside its features, told from its record's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr_loopfm.config.names import split_names
from fuxictr_loopfm.evidence.methods import TEACHER
from fuxictr_loopfm.records.record import RunRecord

_WORDS = {
    "embedding": "embeddings",
    "ids": "ids",
    "label": "labels",
    "log_age": "ages",
    "length": "length",
}


def what_it_reads(run: RunRecord) -> str:
    """For example ``past ids, labels of all periods; watch_history``; "" if it reads nothing more.

    "Logged periods" are those that a teacher logged, of which the board's split tells the numbers.
    """
    config = run.config
    if run.method == TEACHER:
        return "what the teacher reads"
    parts = []
    columns = split_names(config.get("loopfm_history"))
    if columns:
        words = ", ".join(_WORDS.get(column, column) for column in columns)
        parts.append(f"past {words} of {_periods(config, columns)}")
    if config.get("loopfm_current", "none") != "none":
        parts.append(f"the teacher's current {config['loopfm_current'].replace('_', ' ')}")
    parts += _lists(config.get("feature_cols"))
    if config.get("loopfm_train_on") == "all":
        parts.append("trained on all periods")
    return "; ".join(parts)


def _periods(config: Mapping[str, Any], columns: Sequence[str]) -> str:
    backfill = config.get("loopfm_backfill", False)
    every = "embedding" not in columns if backfill is None else backfill
    return "all periods" if every else "logged periods"


def _lists(feature_cols: Any) -> list[str]:
    """Names of the ready-made sequences among the features."""
    found = feature_cols if isinstance(feature_cols, list) else []
    return [
        str(column.get("name"))
        for column in found
        if isinstance(column, Mapping)
        and column.get("type") == "sequence"
        and column.get("active", True)
    ]
