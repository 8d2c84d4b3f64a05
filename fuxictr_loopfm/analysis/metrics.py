"""Ranking and calibration metrics of click predictions, without a loop over the groups.

The values equal those of FuxiCTR and scikit-learn, which compute the group AUC one group at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fuxictr_loopfm.analysis.training_watch import LESS
from fuxictr_loopfm.errors import DataError

# Predictions of a trained model differ by hundredths; below this they are one number and noise.
CONSTANT_BELOW = 1e-6
_EPSILON = float(np.finfo(np.float64).eps)


def evaluate(y: ArrayLike, p: ArrayLike, group: ArrayLike | None = None) -> dict[str, float]:
    """All metrics of one evaluation.

    ``AUC`` is the area under the ROC curve, tied scores counting half. ``gAUC`` is the mean AUC
    over the groups with both classes, weighted by the rows of each. It is left out when there is
    no ``group`` or when no group has both classes (a log in which every user was seen once), so
    that a finished training is not lost for it. ``logloss`` is the mean binary cross-entropy in
    nats. ``NE`` is the log loss divided by that of always predicting the click rate of the same
    rows: lower is better and 1 is worth nothing (He et al. 2014, "Practical lessons from predicting
    clicks on ads at Facebook").

    Args:
        y: (N,) labels, 0 or 1.
        p: (N,) click probabilities in [0, 1].
        group: (N,) group of each row (usually the user), integers or text, in any order, or None.

    Raises:
        DataError: wrong shape, a label other than 0 or 1, a score that is no probability, or rows
            of one class alone.
    """
    labels, scores = _checked(y, p)
    loss = float(cross_entropy(labels, scores).mean())
    one_group = np.zeros(len(labels), dtype=np.int64)
    values = {"AUC": float(auc_by_group(labels, scores, one_group)[0][0])}
    grouped = None if group is None else _group_auc(labels, scores, group)
    if grouped is not None:
        values["gAUC"] = grouped
    return values | {"logloss": loss, "NE": loss / entropy(labels)}


def prediction_warnings(p: ArrayLike, ne: float) -> list[str]:
    """What makes the metrics of a split worthless, in words; empty if nothing does.

    Args:
        p: (N,) click probabilities.
        ne: their normalized entropy.
    """
    spread = float(np.std(np.asarray(p, dtype=np.float64)))
    if spread < CONSTANT_BELOW:
        return [
            f"the prediction is constant (standard deviation {spread:.1e} on the test part, below "
            f"{CONSTANT_BELOW:g}): the model learned nothing from its features; raise "
            "learning_rate or epochs, or let it normalise (batch_norm)"
        ]
    if ne >= 1:
        return [
            f"NE {ne:.4f} is no better than always predicting the click rate (1): {LESS}; so do "
            "fewer epochs"
        ]
    return []


def _checked(y: ArrayLike, p: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels, scores = np.asarray(y).ravel(), np.asarray(p, dtype=np.float64).ravel()
    if len(labels) != len(scores) or not len(labels):
        raise DataError(
            f"metrics: expected as many predictions as labels and at least one, found "
            f"{len(scores)} predictions for {len(labels)} labels"
        )
    clicked = labels == 1
    wrong = np.flatnonzero(~(clicked | (labels == 0)))
    if len(wrong):
        raise DataError(
            f"label: expected only 0 and 1, found {labels[wrong[0]]!s} in row {wrong[0]} "
            f"({len(wrong)} such rows)"
        )
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise DataError(
            f"prediction: expected finite numbers, found {scores[wrong[0]]} in row {wrong[0]} "
            f"({len(wrong)} such rows); the training diverged: lower the learning rate or look "
            "for missing values among the numeric features"
        )
    if clicked.all() or not clicked.any():
        raise DataError(
            f"the metrics: expected labels of both classes, found {len(clicked)} rows with label "
            f"{int(clicked[0])} only; choose a test period with clicks and non-clicks"
        )
    if scores.min() < 0 or scores.max() > 1:
        raise DataError(
            f"prediction: expected probabilities in [0, 1], found {scores.min()} to "
            f"{scores.max()}; apply the sigmoid first"
        )
    return clicked, scores


def cross_entropy(labels: NDArray[np.bool_], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., N) loss of every prediction in nats, probabilities kept 2.2e-16 away from 0 and 1.

    Args:
        labels: (N,) whether it was a click.
        p: (..., N) click probabilities in [0, 1].
    """
    of_truth = np.where(labels, p, 1 - p)
    losses: NDArray[np.float64] = -np.log(np.clip(of_truth, _EPSILON, 1 - _EPSILON))
    return losses


def entropy(labels: NDArray[np.bool_]) -> float:
    """Log loss in nats of always predicting the click rate of labels (N,) of both classes."""
    rate = float(labels.mean())
    return -rate * float(np.log(rate)) - (1 - rate) * float(np.log1p(-rate))


def _group_auc(
    labels: NDArray[np.bool_], scores: NDArray[np.float64], group: ArrayLike
) -> float | None:
    groups = np.asarray(group).ravel()
    if len(groups) != len(labels):
        raise DataError(
            f"gAUC: expected one group for each of the {len(labels)} rows, found {len(groups)}"
        )
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    values, sizes, _ = auc_by_group(labels, scores, codes)
    if not len(values):
        return None
    return float((values * sizes).sum() / sizes.sum())


def auc_by_group(
    labels: NDArray[np.bool_], scores: NDArray[np.float64], codes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """AUC, number of rows and code of every group with both classes, in the order of the codes.

    Rows are sorted by (group, score); rows equal in both form a tie block. A click beats all
    non-clicks of its group in earlier blocks and half of those in its own.
    """
    order = np.lexsort((scores, codes))
    codes, scores, clicked = codes[order], scores[order], labels[order]
    new_block = np.ones(len(codes), dtype=bool)
    new_block[1:] = (codes[1:] != codes[:-1]) | (scores[1:] != scores[:-1])
    start = np.flatnonzero(new_block)
    rows = np.diff(np.append(start, len(codes)))
    clicks = np.add.reduceat(clicked.astype(np.int64), start)
    non_clicks = rows - clicks

    new_group = np.ones(len(start), dtype=bool)
    new_group[1:] = codes[start[1:]] != codes[start[:-1]]
    first = np.flatnonzero(new_group)
    before = np.cumsum(non_clicks) - non_clicks
    before -= np.repeat(before[first], np.diff(np.append(first, len(start))))
    twice_wins = np.add.reduceat(clicks * (2 * before + non_clicks), first)
    group_clicks = np.add.reduceat(clicks, first)
    group_others = np.add.reduceat(non_clicks, first)
    mixed = (group_clicks > 0) & (group_others > 0)
    pairs = group_clicks[mixed].astype(np.float64) * group_others[mixed]
    sizes = (group_clicks + group_others)[mixed]
    return twice_wins[mixed] / (2 * pairs), sizes, codes[start[first]][mixed]
