"""The params that choose among the features of a data set and change what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr_loopfm.data.columns import DEFAULT_GROUP, EVENT_ID
from fuxictr_loopfm.errors import did_you_mean
from fuxictr_loopfm.prepared.parts import short


def feature_choice_problems(params: Mapping[str, Any], features: Sequence[str]) -> list[str]:
    """What is wrong with ``use_features`` and ``feature_specs``; empty if nothing is.

    Args:
        params: FuxiCTR params.
        features: names of the active features, histories included.
    """
    problems = []
    chosen = params.get("use_features")
    if chosen and not isinstance(chosen, (list, tuple)):
        problems.append(f"use_features: expected a list of features, found {short(chosen)}")
    elif chosen:
        # Columns that the encoding of a prepared log adds, and that a loader serves if chosen.
        added = [EVENT_ID, str(params.get("group_id") or DEFAULT_GROUP)]
        problems += _unknown("use_features", chosen, [*features, *added])
    specs = params.get("feature_specs")
    if not specs:
        return problems
    if not isinstance(specs, (list, tuple)) or not all(
        isinstance(spec, Mapping) and "name" in spec for spec in specs
    ):
        return [
            *problems,
            f"feature_specs: expected a list of entries with a name, found {short(specs)}",
        ]
    for spec in specs:
        names = spec["name"] if isinstance(spec["name"], list) else [spec["name"]]
        problems += _unknown("feature_specs", names, features)
    return problems


def _unknown(key: str, names: Sequence[Any], features: Sequence[str]) -> list[str]:
    return [
        f"{key}: expected a feature of feature_cols, found {name!r}{did_you_mean(name, features)}"
        for name in names
        if name not in features
    ]
