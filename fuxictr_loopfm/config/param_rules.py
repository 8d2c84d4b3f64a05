"""What values FuxiCTR's own params may take, as far as it would fail late or not at all."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from fuxictr_loopfm.data.evaluated import param_problems
from fuxictr_loopfm.errors import did_you_mean
from fuxictr_loopfm.prepared.parts import is_integer

REQUIRED = (
    *("model", "model_root", "data_root", "feature_cols", "label_col"),
    *("batch_size", "seed", "metrics"),
)
_AT_LEAST_ONE = ("batch_size", "embedding_dim", "epochs")
_LARGEST_SEED = 2**32 - 1  # numpy's
_LOSSES = ("bce", "binary_crossentropy", "binary_cross_entropy")
_METRICS = ("AUC", "gAUC", "logloss", "NE")
# The last four are FuxiCTR's, computed during a training with early stopping only.
_METRIC = re.compile(r"AUC|gAUC|logloss|NE|binary_crossentropy|avgAUC|MRR|NDCG(\(k=\d+\))?")


def problems_of_params(params: Mapping[str, Any]) -> list[str]:
    """Everything wrong with the params of an expid; empty if nothing is."""
    problems = [
        f"expected a key {name}, found none" for name in REQUIRED if params.get(name) is None
    ]
    for name in _AT_LEAST_ONE:
        problems += _whole(name, params.get(name), 1, None)
    problems += _whole("seed", params.get("seed"), 0, _LARGEST_SEED)
    return [*problems, *_training_problems(params), *param_problems(params)]


def _whole(name: str, value: Any, low: int, high: int | None) -> list[str]:
    if value is None:
        return []
    if not is_integer(value):
        return [f"{name}: expected a whole number, found {value!r}"]
    if value < low or (high is not None and value > high):
        expected = f"{low} or more" if high is None else f"{low} to {high}"
        return [f"{name}: expected {expected}, found {value}"]
    return []


def _training_problems(params: Mapping[str, Any]) -> list[str]:
    """Optimizer, learning rate, loss and metrics: by name, as FuxiCTR looks them up."""
    problems = []
    optimizer = params.get("optimizer")
    if isinstance(optimizer, str):
        known = [n for n, c in vars(torch.optim).items() if isinstance(c, type)]
        if optimizer.lower() != "adam" and optimizer not in known:
            problems.append(
                f"optimizer: expected a class of torch.optim, found {optimizer!r}"
                + did_you_mean(optimizer, ["adam", *known])
            )
    rate = params.get("learning_rate")
    if rate is not None and not _is_positive(rate):
        hint = "; YAML takes 1e-3 for a text, write 1.0e-3" if isinstance(rate, str) else ""
        problems.append(f"learning_rate: expected a number above 0, found {rate!r}{hint}")
    loss = params.get("loss")
    if isinstance(loss, str) and loss not in _LOSSES and not hasattr(functional, loss):
        problems.append(
            f"loss: expected binary_crossentropy or a loss of FuxiCTR or torch, found {loss!r}"
            + did_you_mean(loss, _LOSSES)
        )
    metrics = params.get("metrics")
    if metrics is not None and not (isinstance(metrics, list) and metrics):
        return [*problems, f"metrics: expected a list such as [AUC, logloss], found {metrics!r}"]
    problems += [
        f"metrics: expected some of {list(_METRICS)}, found {name!r}{did_you_mean(name, _METRICS)}"
        for name in metrics or ()
        if not _METRIC.fullmatch(str(name))
    ]
    return problems


def _is_positive(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0
