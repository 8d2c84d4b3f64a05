"""Training loops on FuxiCTR models: one pass in time order, or FuxiCTR's own with early stopping.

``BaseModel.fit`` cannot run without validation data and always ends by loading a checkpoint that a
one-pass run never writes, so the streaming protocol has its own loop around the same train step.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fuxictr_loopfm.analysis import metrics
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.host import distributed
from fuxictr_loopfm.host.model_failures import explained_failures

# Losses are looked at this many at a time: a look waits for the device.
_LOOK_EVERY = 64

AfterStep = Callable[[Mapping[str, Any]], None]


def train_epochs(
    model: Any,
    batches: Any,
    *,
    epochs: int,
    max_gradient_norm: float = 10.0,
    after_step: AfterStep | None = None,
    after_epoch: Callable[[], None] | None = None,
) -> list[float]:
    """Train for a fixed number of epochs without validation; logs what ``BaseModel.fit`` logs.

    Args:
        model: a FuxiCTR ``BaseModel``.
        batches: iterable of batch dicts with a length; iterated once per epoch.
        after_step: called with each batch after its optimisation step.
        after_epoch: called after each epoch.
    Returns:
        The mean training loss of each epoch.
    Raises:
        DataError: the loss is not finite.
        ConfigError: the model's own code fails.
    """
    model._max_gradient_norm = max_gradient_norm
    logging.info("Start training: %d batches/epoch", len(batches))
    logging.info("************ Epoch=1 start ************")
    means = []
    for epoch in range(epochs):
        model.train()
        total = 0.0
        losses: list[Tensor] = []
        for batch in progress(batches, model, f"epoch {epoch + 1}/{epochs}"):
            with explained_failures(model, "training"):
                losses.append(model.train_step(batch).detach().reshape(()))
            if after_step is not None:
                after_step(batch)
            if len(losses) == _LOOK_EVERY:
                total = _added(total, losses, model, epoch)
        total = _added(total, losses, model, epoch)
        means.append(total / max(len(batches), 1))
        logging.info("Train loss: %.6f", means[-1])
        logging.info("************ Epoch=%d end ************", epoch + 1)
        if after_epoch is not None:
            after_epoch()
    logging.info("Training finished.")
    return means


def _added(total: float, losses: list[Tensor], model: Any, epoch: int) -> float:
    """The total and all losses, one after another; empties ``losses``."""
    for loss in torch.stack(losses).tolist() if losses else []:
        if not np.isfinite(loss):
            raise DataError(
                f"training of {model.model_id}: the loss became {loss} in epoch {epoch + 1}. "
                "Lower learning_rate or check the numeric features for extreme values."
            )
        total += loss
    losses.clear()
    return total


def progress(batches: Iterable[Any], model: Any, title: str) -> Iterable[Any]:
    """FuxiCTR's bar on stdout; none at ``verbose: 0`` or where nobody watches."""
    if model._verbose == 0:
        return batches
    return tqdm(batches, desc=title, file=sys.stdout, leave=False, disable=None)


def predict(model: Any, batches: Iterable[Any], title: str = "evaluate") -> dict[str, np.ndarray]:
    """Labels, probabilities and groups of a split in loader order, those of all ranks.

    Returns:
        ``y_true`` (M,) float64, ``y_pred`` (M,) float64 and, if the feature map has a group,
        ``group`` (M,).
    """
    model.eval()
    parts: dict[str, list[np.ndarray]] = {"y_true": [], "y_pred": [], "group": []}
    with torch.no_grad():
        for batch in progress(batches, model, title):
            with explained_failures(model, "prediction"):
                predicted = model.forward(batch)["y_pred"]
            parts["y_pred"].append(predicted.double().cpu().numpy().reshape(-1))
            parts["y_true"].append(model.get_labels(batch).double().cpu().numpy().reshape(-1))
            if model.feature_map.group_id is not None:
                parts["group"].append(model.get_group_id(batch).cpu().numpy().reshape(-1))
    rows = {name: np.concatenate(values) for name, values in parts.items() if values}
    if distributed.world_size() == 1:
        return rows
    return distributed.gathered(rows, batches, model.device)


def evaluate(model: Any, batches: Iterable[Any]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """(AUC, gAUC, logloss and NE, predictions) of a split; logs FuxiCTR's metrics line."""
    predictions = predict(model, batches)
    values = metrics.evaluate(
        predictions["y_true"], predictions["y_pred"], predictions.get("group")
    )
    shown = {name: values[name] for name in model.validation_metrics if name in values}
    logging.info("[Metrics] %s", " - ".join(f"{k}: {v:.6f}" for k, v in shown.items()))
    return values, predictions
