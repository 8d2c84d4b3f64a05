"""What values FuxiCTR's own params may take, checked before anything is built from them.

FuxiCTR reads them late, by ``eval``, or not at all: a misspelt one may cost a trained teacher, and
a text ``'False'`` is true.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fuxictr_loopfm.config.names import PREFIX
from fuxictr_loopfm.config.value_rules import (
    Check,
    is_boolean,
    is_number,
    is_positive,
    is_regularizer,
    is_text,
    one_of,
    whole,
)
from fuxictr_loopfm.data.evaluated import param_problems
from fuxictr_loopfm.errors import did_you_mean

REQUIRED = (
    *("model", "model_root", "data_root", "feature_cols", "label_col"),
    *("batch_size", "seed", "metrics"),
)
_LOSSES = ("bce", "binary_crossentropy", "binary_cross_entropy")
_METRICS = ("AUC", "gAUC", "logloss", "NE")
# FuxiCTR computes these beside ours, during a training with early stopping only.
_MONITORED = re.compile(r"AUC|gAUC|logloss|binary_crossentropy|avgAUC|MRR|NDCG(\(k=\d+\))?")
# How alike two names are of which one is the other misspelt.
_MISSPELT = 0.9
# Null is left to FuxiCTR's own default.
_CHECKS: dict[str, Check] = {
    **dict.fromkeys(("batch_size", "embedding_dim", "epochs", "eval_steps"), whole(1)),
    **dict.fromkeys(("early_stop_patience", "num_workers", "verbose"), whole(0)),
    "min_categr_count": whole(1),
    "seed": whole(0, 2**32 - 1),  # numpy's largest
    **dict.fromkeys(
        ("shuffle", "save_best_only", "reduce_lr_on_plateau", "debug_mode"), is_boolean
    ),
    "learning_rate": is_positive,
    **dict.fromkeys(("embedding_regularizer", "net_regularizer"), is_regularizer),
    "monitor_mode": one_of("max", "min"),
    "task": one_of("binary_classification"),
    "group_id": is_text,
}
# What FuxiCTR's own scripts and ours read of a configuration, besides a model's arguments.
_READ = frozenset(_CHECKS) | {
    *("model", "model_id", "dataset_id", "model_root", "data_root", "gpu", "metrics", "monitor"),
    *("optimizer", "loss", "feature_cols", "label_col", "use_features", "feature_specs"),
    *(
        "feature_config",
        "data_format",
        "train_data",
        "valid_data",
        "test_data",
        "valid_size",
        "test_size",
    ),
    *("rebuild_dataset", "data_block_size", "pickle_feature_encoder", "split_type"),
    # Of older FuxiCTR releases, in the configurations that BARS published.
    *("patience", "every_x_epochs", "version", "workers", "use_hdf5", "regularizer", "partition"),
    # Notes on a table's rows, see ``evidence/paper/overrides.py``.
    *("teacher_fingerprint", "teacher_overrides"),
}


def problems_of_params(params: Mapping[str, Any]) -> list[str]:
    """Everything wrong with the params of an expid; empty if nothing is."""
    problems = [
        f"expected a key {name}, found none" for name in REQUIRED if params.get(name) is None
    ]
    for name, check in _CHECKS.items():
        problem = None if params.get(name) is None else check(params[name])
        problems += [f"{name}: {problem}"] if problem else []
    labels = params.get("label_col")
    if isinstance(labels, list) and len(labels) > 1:
        problems.append(f"label_col: expected one label, which is trained on, found {len(labels)}")
    return [*problems, *_training_problems(params), *_monitor(params), *param_problems(params)]


def argument_problems(model_class: type[nn.Module], params: Mapping[str, Any]) -> list[str]:
    """Params that are misspelt: nobody reads them, and one that somebody reads is missing.

    A model takes all params and drops what it does not know, so a misspelt one changes nothing and
    nobody is told. Others that nobody reads are in FuxiCTR's own configurations, too; of these the
    log says so.

    Args:
        model_class: the model of the expid.
        params: its resolved params.
    """
    arguments: set[str] = set()
    for base in model_class.__mro__:
        if "__init__" in vars(base) and issubclass(base, nn.Module):
            arguments |= set(inspect.signature(base.__init__).parameters)
    known = (arguments | _READ) - {"self", "args", "kwargs"}
    problems = []
    for name in params:
        if name in known or str(name).startswith(PREFIX):
            continue
        near = difflib.get_close_matches(name, known - set(params), n=1, cutoff=_MISSPELT)
        text = f"{name}: neither model {model_class.__name__} nor FuxiCTR reads such a param"
        if near:
            problems.append(f"{text}; did you mean {near[0]!r}?")
        else:
            logging.warning("%s: %s", params.get("model_id"), text)
    return problems


def _training_problems(params: Mapping[str, Any]) -> list[str]:
    """Optimizer, loss and metrics: by name, as FuxiCTR looks them up."""
    problems = []
    optimizer = params.get("optimizer")
    if isinstance(optimizer, str):
        known = [n for n, c in vars(torch.optim).items() if isinstance(c, type)]
        if optimizer.lower() != "adam" and optimizer not in known:
            problems.append(
                f"optimizer: expected a class of torch.optim, found {optimizer!r}"
                + did_you_mean(optimizer, ["adam", *known])
            )
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
        if name not in _METRICS
    ]
    return problems


def _monitor(params: Mapping[str, Any]) -> list[str]:
    """A metric, or several with their weights, that early stopping looks at."""
    found = params.get("monitor")
    if found is None:
        return []
    weights = {found: 1} if isinstance(found, str) else found
    if not isinstance(weights, Mapping) or not weights:
        return [f"monitor: expected a metric or a mapping of metrics to weights, found {found!r}"]
    problems = [
        f"monitor: expected some of {list(_METRICS[:3])}, found {name!r}"
        + did_you_mean(str(name), _METRICS)
        for name in weights
        if not _MONITORED.fullmatch(str(name))
    ]
    problems += [
        f"monitor: {name}: expected a number as its weight, found {weight!r}"
        for name, weight in weights.items()
        if not is_number(weight)
    ]
    return problems
