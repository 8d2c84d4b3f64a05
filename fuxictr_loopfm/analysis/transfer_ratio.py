"""How much of a foundation model's gain reaches the vertical model (the transfer ratio).

A ratio compares two gains of normalised entropy (NE, log loss over the entropy of the click rate)
on the same test rows: that of the vertical model over that of its teacher. Confidence intervals
come from resampling users, because the rows of one user are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fuxictr_loopfm.analysis.metrics import cross_entropy, entropy
from fuxictr_loopfm.analysis.resampling import (
    RESAMPLES,
    Estimate,
    interval,
    resampled_totals,
    user_codes,
)
from fuxictr_loopfm.errors import DataError

UPGRADE = "upgrade"
INITIAL_LAUNCH = "initial launch"


@dataclass(frozen=True)
class TransferRatio:
    """A transfer ratio and the two gains it is made of.

    Attributes:
        kind: ``upgrade`` or ``initial launch``; numbers of the two kinds are not comparable.
        dNE_FM: the teachers' gain, NE(FM1) - NE(FM2); positive if the second is better.
        dNE_VM: the vertical models' gain.
        ratio: dNE_VM / dNE_FM.
        users, rows: what was evaluated.
        n_boot: resamples behind the intervals.
    """

    kind: str
    dNE_FM: Estimate
    dNE_VM: Estimate
    ratio: Estimate
    users: int
    rows: int
    n_boot: int


def transfer_ratio(
    kind: str,
    y: ArrayLike,
    teachers: tuple[ArrayLike, ArrayLike],
    verticals: tuple[ArrayLike, ArrayLike],
    user: ArrayLike,
    n_boot: int = RESAMPLES,
    seed: int = 0,
) -> TransferRatio:
    """The vertical models' gain over that of their teachers FM1 and FM2.

    Paper: arXiv:2605.29280. ``upgrade`` (Eq. 5): FM2 takes the place of FM1. ``initial launch``
    (Eq. 7): FM2 is launched together with the channel, which there was none of before. That is no
    fraction of the teacher's gain: what the history tells beyond the current features counts in
    its numerator, so it may well exceed 1.

    The intervals are ours: a paired bootstrap over users. The entropy that turns log loss into NE
    is that of all rows, in the resamples too, where it would only change the unit.

    Args:
        kind: ``upgrade`` or ``initial launch``.
        y: (N,) labels, 0 or 1.
        teachers: predictions of FM1 and FM2, (N,) each, or (S, N) with S seeds, whose losses are
            averaged row by row.
        verticals: the same of the vertical model fed by FM1, or at an initial launch without the
            channel, and fed by FM2.
        user: (N,) integers or texts.
        n_boot: number of resamples.
        seed: of the resampling.

    Raises:
        DataError: arrays that do not fit each other or hold anything but labels and probabilities,
            fewer than 2 users, or teachers whose gain is not different from 0: its interval
            contains 0, and a ratio to it would mean nothing.
    """
    clicked = _labels(y)
    fm_gain = _gain(clicked, teachers, ("p_fm1", "p_fm2"))
    vm_gain = _gain(clicked, verticals, ("p_vm1", "p_vm2"))
    codes = user_codes(user, len(clicked))
    users = int(codes.max()) + 1
    rows = np.bincount(codes, minlength=users).astype(np.float64)
    # Per user: rows, and both gains summed over these rows.
    sums = np.stack(
        [rows, *(np.bincount(codes, gain, minlength=users) for gain in (fm_gain, vm_gain))], axis=1
    )
    resampled = resampled_totals(sums, n_boot, seed)
    whole, unit = sums.sum(axis=0), entropy(clicked)
    fm = interval(whole[1] / whole[0] / unit, resampled[:, 1] / resampled[:, 0] / unit)
    vm = interval(whole[2] / whole[0] / unit, resampled[:, 2] / resampled[:, 0] / unit)
    if fm.low <= 0 <= fm.high:
        raise DataError(
            f"{kind} ratio: expected teachers that differ, found dNE_FM {fm.value:.5f} with the "
            f"95% interval {fm.low:.5f} to {fm.high:.5f}, which contains 0; a ratio to it would "
            "mean nothing: compare teachers with a clearer gain, or on more users"
        )
    ratio = interval(whole[2] / whole[1], resampled[:, 2] / resampled[:, 1])
    return TransferRatio(kind, fm, vm, ratio, users, len(clicked), n_boot)


def _labels(y: ArrayLike) -> NDArray[np.bool_]:
    labels = np.asarray(y)
    if labels.ndim != 1 or not len(labels):
        raise DataError(f"y: expected labels of shape (N,), found shape {labels.shape}")
    clicked = labels == 1
    if not np.all(clicked | (labels == 0)):
        raise DataError(f"y: expected only 0 and 1, found {np.unique(labels)[:5].tolist()}")
    if clicked.all() or not clicked.any():
        raise DataError(f"y: expected labels of both classes, found only {labels[0]}")
    return clicked


def _gain(
    clicked: NDArray[np.bool_], pair: tuple[ArrayLike, ArrayLike], names: tuple[str, str]
) -> NDArray[np.float64]:
    """(N,) by how much the loss of the first model exceeds that of the second."""
    first, second = (_losses(clicked, p, name) for p, name in zip(pair, names, strict=True))
    return first - second


def _losses(clicked: NDArray[np.bool_], p: ArrayLike, name: str) -> NDArray[np.float64]:
    """(N,) binary cross-entropy in nats, averaged over the seeds."""
    values = np.atleast_2d(np.asarray(p, dtype=np.float64))
    if values.ndim != 2 or values.shape[1] != len(clicked) or not len(values):
        raise DataError(
            f"{name}: expected shape ({len(clicked)},) or (seeds, {len(clicked)}), found "
            f"{np.shape(p)}"
        )
    if not np.all((values >= 0) & (values <= 1)):
        raise DataError(f"{name}: expected probabilities in [0, 1]; apply the sigmoid first")
    return np.asarray(cross_entropy(clicked, values).mean(axis=0))
