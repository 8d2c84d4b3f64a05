"""AUC of many resamples in one pass over the sorted rows, compiled by numba.

A resample gives every user a weight, how often it was drawn, and so every row. The order of the
scores is the same in all resamples: rows are sorted once, and one pass keeps a running total for
each resample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Resamples that one pass takes: the weights of a row's user are then one line of cache.
_AT_A_TIME = 32


class Ranking:
    """Rows in the order of their scores.

    Args:
        clicked: (N,) whether it was a click.
        score: (N,) predictions.
        user: (N,) users numbered from 0.
    """

    def __init__(
        self, clicked: NDArray[np.bool_], score: NDArray[np.float64], user: NDArray[np.int64]
    ) -> None:
        order = np.argsort(score, kind="stable")
        ordered = score[order]
        self._is_last = np.append(ordered[1:] != ordered[:-1], True)
        self._user, self._clicked = user[order].astype(np.int32), clicked[order]

    def auc(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """(R,) AUC of each resample, tied scores counting half; NaN where it has one class only.

        Args:
            counts: (R, U) how often each user is in each resample.
        """
        parts = []
        for start in range(0, len(counts), _AT_A_TIME):
            weights = np.ascontiguousarray(counts[start : start + _AT_A_TIME].T, dtype=np.uint16)
            parts.append(_auc(self._user, self._clicked, self._is_last, weights))
        return np.concatenate(parts)


def _auc_of_sorted(user: Any, clicked: Any, is_last: Any, weights: Any) -> Any:
    """(K,) AUC; ``is_last`` (N,) marks the last row of each tied score, weights are (U, K).

    Totals are float64: exact up to 2**53 pairs, and faster than 64 bit integers.
    """
    count = weights.shape[1]
    clicks_here, others_here = np.zeros(count), np.zeros(count)
    clicks, others, twice_wins = np.zeros(count), np.zeros(count), np.zeros(count)
    alone = True
    for row in range(len(user)):
        weight = weights[user[row]]
        if alone and is_last[row]:
            if clicked[row]:
                for k in range(count):
                    clicks[k] += weight[k]
                    twice_wins[k] += 2.0 * weight[k] * others[k]
            else:
                for k in range(count):
                    others[k] += weight[k]
            continue
        if clicked[row]:
            for k in range(count):
                clicks_here[k] += weight[k]
        else:
            for k in range(count):
                others_here[k] += weight[k]
        alone = is_last[row]
        if alone:
            for k in range(count):
                twice_wins[k] += clicks_here[k] * (2.0 * others[k] + others_here[k])
                clicks[k] += clicks_here[k]
                others[k] += others_here[k]
                clicks_here[k] = others_here[k] = 0.0
    return twice_wins / (2.0 * clicks * others)


# Division by zero gives NaN, as in numpy.
_auc: Any = njit(cache=True, error_model="numpy", nogil=True)(_auc_of_sorted)
