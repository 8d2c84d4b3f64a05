"""All that a model's next training step depends on, so that a training can be taken up again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def training_state(model: Any) -> dict[str, Any]:
    """Weights, the optimizers' states and random numbers, as tensors and numbers.

    Args:
        model: a FuxiCTR model, perhaps with a table optimizer.
    """
    state = {
        "weights": model.state_dict(),  # first: it brings the tables' rows up to date
        "optimizer": model.optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "tables": [
            {"state": arena.block.state, "last": arena.block.last, "steps": list(arena.steps)}
            for arena in _arenas(model)
        ],
    }
    if torch.device(model.device).type == "cuda":
        state["device_random"] = torch.cuda.get_rng_state(model.device)
    return state


def load_training_state(model: Any, state: Mapping[str, Any]) -> None:
    """Go on exactly where ``training_state`` was asked for.

    Args:
        model: of the same configuration.
        state: what it gave.
    """
    model.load_state_dict(state["weights"])
    model.optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if "device_random" in state:
        torch.cuda.set_rng_state(state["device_random"], model.device)
    for arena, saved in zip(_arenas(model), state["tables"], strict=True):
        for name, values in saved["state"].items():
            arena.block.state[name].copy_(values)
        arena.block.last.copy_(saved["last"])
        arena.steps = list(saved["steps"])


def set_learning_rate(model: Any, rate: float) -> None:
    """The rate of all further steps; a table optimizer follows it by itself."""
    for group in model.optimizer.param_groups:
        group["lr"] = rate


def _arenas(model: Any) -> tuple[Any, ...]:
    owner = getattr(model, "loopfm_tables", None)
    return () if owner is None else tuple(owner.arenas)
