"""What the course of a training says against it: a loss that rises, epochs that overfit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

# Smaller differences are noise: of AUC on ten thousand rows, and of a loss between two passes.
NOISE = 5e-4
LESS = "a lower learning_rate, a higher min_categr_count or net_dropout memorise less"


def training_warnings(course: Mapping[str, Any]) -> list[str]:
    """Why a training should have been another one, in words; empty if nothing says so.

    That the loss falls from one epoch to the next says nothing: it also falls by memorising.

    Args:
        course: ``loss``, the mean training loss of each epoch; and, if it was measured, ``AUC`` on
            the ``period`` after the training periods, which was not learned, after each epoch.
    """
    loss: Sequence[float] = course.get("loss", ())
    auc: Sequence[float] = course.get("AUC", ())
    found = []
    for epoch, (before, after) in enumerate(pairwise(loss), 2):
        if after > before + NOISE:
            found.append(
                f"the training loss rose from {before:.4f} to {after:.4f} in epoch {epoch}: the "
                "training does not converge; lower learning_rate"
            )
            break
    if len(auc) > 1 and auc[-1] < max(auc) - NOISE:
        found.append(_overfitted(auc, course["period"]))
    return found


def _overfitted(auc: Sequence[float], period: int) -> str:
    best = max(range(len(auc)), key=lambda epoch: auc[epoch]) + 1
    return (
        f"AUC on period {period}, which was not learned, was {auc[best - 1]:.4f} after epoch "
        f"{best} and {auc[-1]:.4f} after epoch {len(auc)}: further epochs memorise. Set epochs: "
        f"{best}; {LESS}; loopfm tune-teacher chooses"
    )
