"""How good a teacher was on each period that it logged, from the logits in its log."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.analysis.metrics import evaluate
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store.extraction_log import ExtractionLog


def probability(logit: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) natural-log odds as probabilities."""
    values: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-logit.astype(np.float64)))
    return values


def quality_by_period(
    log: ExtractionLog, prepared: PreparedDataset, group: NDArray[np.int64] | None = None
) -> dict[int, dict[str, float]]:
    """What a teacher's logged predictions are worth, period by period.

    Each was made by the checkpoint that logged the period, so of periods that it had not learned:
    this is progressive validation.

    Args:
        log: of the teacher.
        prepared: the event log.
        group: (N,) what gAUC groups the N events of the event log by.
    Returns:
        ``evaluate``'s metrics by number of the period; periods of one class alone are left out.
    """
    label, period = prepared.label[log.event_id], prepared.period[log.event_id]
    groups = None if group is None else group[log.event_id]
    found = {}
    for number in np.unique(period).tolist():
        rows = period == number
        if len(np.unique(label[rows])) == 2:
            own = None if groups is None else groups[rows]
            found[number] = evaluate(label[rows], probability(log.logit[rows]), own)
            logging.info("[Teacher] period %d: AUC %.6f", number, found[number]["AUC"])
    return found
