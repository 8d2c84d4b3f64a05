"""What values FuxiCTR's own params may take, checked before anything is built from them.

FuxiCTR reads them late, by ``eval``, or not at all: a misspelt one may cost a trained teacher, and
a text ``'False'`` is true.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from fuxictr_loopfm.config.metric_rules import metric_problems
from fuxictr_loopfm.config.names import PREFIX
from fuxictr_loopfm.config.value_rules import (
    Check,
    is_boolean,
    is_positive,
    is_regularizer,
    is_share,
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
# FuxiCTR fails late on null for these; for the others null is its own default.
_NEVER_NULL = (
    *("early_stop_patience", "embedding_dim", "epochs", "learning_rate", "loss", "monitor"),
    *("optimizer", "task", "verbose"),
)
_CHECKS: dict[str, Check] = {
    **dict.fromkeys(("batch_size", "embedding_dim", "epochs", "eval_steps"), whole(1)),
    **dict.fromkeys(("early_stop_patience", "num_workers", "verbose"), whole(0)),
    "min_categr_count": whole(1),
    "seed": whole(0, 2**32 - 1),  # numpy's largest
    **dict.fromkeys(
        ("shuffle", "save_best_only", "reduce_lr_on_plateau", "debug_mode", "rebuild_dataset"),
        is_boolean,
    ),
    **dict.fromkeys(
        ("model", "model_root", "data_root", "train_data", "valid_data", "test_data"), is_text
    ),
    **dict.fromkeys(("optimizer", "loss", "group_id"), is_text),
    "learning_rate": is_positive,
    **dict.fromkeys(("embedding_regularizer", "net_regularizer"), is_regularizer),
    "task": one_of("binary_classification"),
}
# What FuxiCTR's own scripts and ours read of a configuration, besides a model's arguments.
READ = frozenset(_CHECKS) | {
    *("model", "model_id", "dataset_id", "model_root", "data_root", "gpu", "metrics", "monitor"),
    "monitor_mode",
    *("optimizer", "loss", "feature_cols", "label_col", "use_features", "feature_specs"),
    *("feature_config", "data_format", "valid_size", "test_size"),
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
    problems += [
        f"{name}: expected a value, found null, which FuxiCTR cannot use"
        for name in _NEVER_NULL
        if name in params and params[name] is None
    ]
    for name, check in _CHECKS.items():
        problem = None if params.get(name) is None else check(params[name])
        problems += [f"{name}: {problem}"] if problem else []
    labels = params.get("label_col")
    if isinstance(labels, list) and len(labels) > 1:
        found = [each.get("name") if isinstance(each, Mapping) else each for each in labels]
        problems.append(f"label_col: expected one label, which is trained on, found {found}")
    problems += [*_training_problems(params), *_scattered_problems(params)]
    return [*problems, *metric_problems(params), *param_problems(params)]


def _training_problems(params: Mapping[str, Any]) -> list[str]:
    """Optimizer and loss: by name, as FuxiCTR looks them up."""
    problems = []
    optimizer = params.get("optimizer")
    if isinstance(optimizer, str) and not _can_train(optimizer):
        known = [name for name in vars(torch.optim) if _can_train(name)]
        problems.append(
            f"optimizer: expected a class of torch.optim that trains any layer, found "
            f"{optimizer!r}{did_you_mean(optimizer, ['adam', *known])}"
        )
    loss = params.get("loss")
    if isinstance(loss, str) and loss not in _LOSSES and not hasattr(functional, loss):
        problems.append(
            f"loss: expected binary_crossentropy or a loss of FuxiCTR or torch, found {loss!r}"
            + did_you_mean(loss, _LOSSES)
        )
    return problems


def _can_train(optimizer: str) -> bool:
    """Whether FuxiCTR can make this optimizer and take a step with it."""
    made = getattr(torch.optim, "Adam" if optimizer.lower() == "adam" else optimizer, None)
    if not isinstance(made, type):
        return False
    bias = torch.zeros(1, requires_grad=True)
    bias.grad = torch.zeros(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made([bias], lr=0.1).step()
    except Exception:  # of any type, for want of a closure or of another argument
        return False
    return True


def _scattered_problems(params: Mapping[str, Any]) -> list[str]:
    """Regularizers and dropouts, which each model calls as it likes."""
    problems = []
    for key, value in params.items():
        name = str(key)
        if value is None or name.startswith(PREFIX) or name in _CHECKS:
            continue
        problem = None
        if name.endswith("regularizer"):
            problem = is_regularizer(value)
        elif "dropout" in name:
            problem = is_share(value)
        problems += [f"{name}: {problem}"] if problem else []
    return problems
