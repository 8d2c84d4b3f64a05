"""Is one arm better than another? Differences of metrics with intervals over resampled users.

Paired: both arms are evaluated on the same test rows and, in each resample, on the same users. The
seeds of an arm are averaged inside each resample, so an interval says what other users would have
given, for a mean of so many seeds. Ours; arXiv:2605.29280 has no intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fuxictr_loopfm.analysis.metrics import auc_by_group, cross_entropy, entropy
from fuxictr_loopfm.analysis.resampling import (
    RESAMPLES,
    Estimate,
    interval,
    multiplicities,
    user_codes,
)
from fuxictr_loopfm.analysis.weighted_auc import Ranking
from fuxictr_loopfm.errors import DataError

SEED = 0


@dataclass(frozen=True)
class Resampled:
    """What an arm's metrics are on all users, and what they are on each resample of them.

    Attributes:
        values: by metric (``AUC``, ``NE`` and, where some user has both classes, ``gAUC``), the
            mean over the seeds.
        draws: (n_boot,) by metric the same in each resample; NaN where it has one class only.
    """

    values: Mapping[str, float]
    draws: Mapping[str, NDArray[np.float64]]


class UserBootstrap:
    """The resamples of a test part, the same for every arm.

    Args:
        y: (N,) labels, 0 or 1.
        user: (N,) integers or texts.
        n_boot: number of resamples.
        seed: of the drawing.

    Raises:
        DataError: no labels of both classes, or fewer than 2 users.
    """

    def __init__(
        self, y: ArrayLike, user: ArrayLike, n_boot: int = RESAMPLES, seed: int = SEED
    ) -> None:
        labels = np.asarray(y)
        self._clicked = labels == 1
        if not np.all(self._clicked | (labels == 0)) or np.ptp(self._clicked.astype(np.int8)) == 0:
            raise DataError(
                f"intervals: expected labels 0 and 1, found {np.unique(labels)[:5].tolist()}"
            )
        self._codes = user_codes(user, len(labels))
        self.users = int(self._codes.max()) + 1
        self.rows = len(labels)
        self.n_boot, self.seed = n_boot, seed
        self._unit = entropy(self._clicked)

    def of(self, p: ArrayLike, grouped: ArrayLike | None = None) -> Resampled:
        """An arm's metrics on the resamples. Time grows with S x N x n_boot, about 1 ns each.

        NE is the log loss over the entropy of all rows, in the resamples too, where it would only
        change the unit.

        Args:
            p: (N,) or (S, N) predictions of S seeds.
            grouped: predictions of the same shape for gAUC, where they differ.

        Raises:
            DataError: predictions that do not fit the labels, or are no probabilities.
        """
        scores = self._checked(p)
        sums = [
            self._sums(row, each)
            for row, each in zip(scores, self._grouped(scores, grouped), strict=True)
        ]
        rankings = [Ranking(self._clicked, row, self._codes) for row in scores]
        whole = np.ones((1, self.users), dtype=np.int64)
        values = _metrics(rankings, sums, whole, self._unit)
        parts = [
            _metrics(rankings, sums, counts, self._unit)
            for counts in multiplicities(self.users, self.n_boot, self.seed)
        ]
        kept = [name for name, value in values.items() if np.isfinite(value[0])]
        return Resampled(
            {name: float(values[name][0]) for name in kept},
            {name: np.concatenate([part[name] for part in parts]) for name in kept},
        )

    def _checked(self, p: ArrayLike) -> NDArray[np.float64]:
        scores = np.atleast_2d(np.asarray(p, dtype=np.float64))
        if scores.ndim != 2 or scores.shape[1] != self.rows or not len(scores):
            raise DataError(
                f"intervals: expected predictions of shape ({self.rows},) or (seeds, {self.rows}), "
                f"found {np.shape(p)}"
            )
        if not np.all((scores >= 0) & (scores <= 1)):
            raise DataError("intervals: expected probabilities in [0, 1]; apply the sigmoid first")
        return scores

    def _grouped(
        self, scores: NDArray[np.float64], grouped: ArrayLike | None
    ) -> NDArray[np.float64]:
        found = scores if grouped is None else self._checked(grouped)
        if found.shape != scores.shape:
            raise DataError(
                f"intervals: expected predictions for gAUC of shape {scores.shape}, found "
                f"{found.shape}"
            )
        return found

    def _sums(
        self, scores: NDArray[np.float64], grouped: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(U, 4) per user: rows, loss, rows that count in gAUC, and AUC times these rows."""
        loss = cross_entropy(self._clicked, scores)
        sums = np.zeros((self.users, 4))
        sums[:, 0] = np.bincount(self._codes, minlength=self.users)
        sums[:, 1] = np.bincount(self._codes, loss, minlength=self.users)
        values, sizes, codes = auc_by_group(self._clicked, grouped, self._codes)
        sums[codes, 2], sums[codes, 3] = sizes, values * sizes
        return sums


def differences(first: Resampled, second: Resampled) -> dict[str, Estimate]:
    """By metric that both have, the first arm minus the second, with its interval.

    Args:
        first, second: made by one ``UserBootstrap``, so that their resamples are the same users.
    """
    found = {}
    for name in first.values:
        if name in second.values:
            drawn = first.draws[name] - second.draws[name]
            drawn = drawn[np.isfinite(drawn)]
            value = first.values[name] - second.values[name]
            found[name] = interval(value, drawn if len(drawn) else np.array([np.nan]))
    return found


def _metrics(
    rankings: list[Ranking],
    sums: list[NDArray[np.float64]],
    counts: NDArray[np.int64],
    unit: float,
) -> dict[str, NDArray[np.float64]]:
    """(R,) by metric, the mean over the seeds; ``counts`` are (R, U)."""
    auc = [ranking.auc(counts) for ranking in rankings]
    totals = np.stack([counts @ each for each in sums])  # (S, R, 4)
    with np.errstate(invalid="ignore"):
        grouped = totals[..., 3] / totals[..., 2]
    return {
        "AUC": np.mean(auc, axis=0),
        "gAUC": grouped.mean(axis=0),
        "NE": (totals[..., 1] / totals[..., 0]).mean(axis=0) / unit,
    }
