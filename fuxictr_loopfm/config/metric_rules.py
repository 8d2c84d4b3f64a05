"""What is computed of a run: the metrics that are reported, and the one that stops it early."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr_loopfm.errors import did_you_mean
from fuxictr_loopfm.files.scalars import meant_text

METRICS = ("AUC", "gAUC", "logloss", "NE")
# FuxiCTR computes the monitored metrics, by evaluating their names as Python.
_MONITORED = ("AUC", "gAUC", "logloss", "binary_crossentropy", "avgAUC", "MRR", "NDCG(k=5)")
_MONITOR = re.compile(r"AUC|gAUC|logloss|binary_crossentropy|avgAUC|MRR|NDCG\(k=[1-9][0-9]{0,5}\)")
_LOSSES = ("logloss", "binary_crossentropy")
_OF_GROUPS = ("gAUC", "avgAUC", "MRR", "NDCG")


def metric_problems(params: Mapping[str, Any]) -> list[str]:
    """Everything wrong with ``metrics``, ``monitor`` and ``monitor_mode``."""
    metrics = params.get("metrics")
    if metrics is not None and not (isinstance(metrics, (list, tuple)) and metrics):
        problems = [f"metrics: expected a list such as [AUC, logloss], found {metrics!r}"]
        metrics = []
    else:
        metrics = list(metrics or ())
        problems = [
            f"metrics: expected some of {list(METRICS)}, found {name!r}"
            + (
                "; only a monitor can be that"
                if _MONITOR.fullmatch(str(name))
                else did_you_mean(name, METRICS)
            )
            for name in metrics
            if name not in METRICS
        ]
    monitored, problem = _weights(params.get("monitor"))
    problems += [f"monitor: {text}" for text in problem]
    if not problem:
        problems += _mode_problems(params.get("monitor_mode"), monitored)
    return problems


def _weights(monitor: Any) -> tuple[dict[str, float], list[str]]:
    """(weight by metric, problems); FuxiCTR's default for null."""
    monitor = "AUC" if monitor is None else monitor
    if isinstance(monitor, str):
        monitor = {monitor: 1}
    if not isinstance(monitor, Mapping) or not monitor:
        expected = "expected a metric or weights such as {AUC: 1, logloss: -1}"
        return {}, [f"{expected}, found {monitor!r}{meant_text(monitor)}"]
    problems = [
        f"expected some of {list(_MONITORED)}, found {name!r}{did_you_mean(name, _MONITORED)}"
        for name in monitor
        if not _MONITOR.fullmatch(str(name))
    ]
    problems += [
        f"{name}: expected a number as its weight, found {weight!r}"
        for name, weight in monitor.items()
        if isinstance(weight, bool)
        or not isinstance(weight, (int, float))
        or not math.isfinite(weight)
    ]
    return ({} if problems else dict(monitor)), problems


def _mode_problems(mode: Any, weights: Mapping[str, float]) -> list[str]:
    mode = "max" if mode is None else mode
    if mode not in ("max", "min"):
        return [f"monitor_mode: expected one of ['max', 'min'], found {mode!r}"]
    signs = {(weight > 0) != (name in _LOSSES) for name, weight in weights.items() if weight}
    wanted = {True: "max", False: "min"}
    if len(signs) == 1 and wanted[next(iter(signs))] != mode:
        best = wanted[next(iter(signs))]
        return [
            f"monitor_mode: expected {best} for monitor={_shown(weights)}, found {mode}, which "
            "keeps the worst state of the model"
        ]
    return []


def _shown(weights: Mapping[str, float]) -> str:
    return next(iter(weights)) if list(weights.values()) == [1] else str(dict(weights))


def group_problems(params: Mapping[str, Any], features: Sequence[str]) -> list[str]:
    """What is wrong with the groups of a plain data set; a prepared one has groups of its own.

    Args:
        params: FuxiCTR params whose metrics are known ones.
        features: names of the active features, of which a group is one.
    """
    group = params.get("group_id")
    if group is not None:
        known = group in features
        hint = f"{did_you_mean(group, features)}; there are {list(features)}"
        found = f"expected a column of feature_cols, found {group!r}{hint}"
        return [] if known else [f"group_id: {found}"]
    return [
        f"group_id: expected a column to group by for {name}, found null"
        for name in dict.fromkeys([*params["metrics"], *_weights(params.get("monitor"))[0]])
        if name.startswith(_OF_GROUPS)
    ]
