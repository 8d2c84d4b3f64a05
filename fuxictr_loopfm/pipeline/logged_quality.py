"""How good a teacher was on each period that it logged, from the logits in its log."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.analysis.metrics import evaluate
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store.extraction_log import ExtractionLog


def probability(logit: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) natural-log odds as probabilities."""
    values: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-logit.astype(np.float64)))
    return values


def metrics_by_period(log: ExtractionLog, prepared: PreparedDataset) -> dict[int, dict[str, float]]:
    """AUC, log loss and NE of a teacher's logits, by logged period.

    A fixed teacher was trained before all of them. One that goes on learning had learned the
    periods before each: this is progressive validation.

    Args:
        log: what the teacher logged.
        prepared: the log of events that it was trained on.
    """
    period, label = prepared.period[log.event_id], prepared.label[log.event_id]
    found = {}
    for number in log.manifest.logged_periods:
        rows = period == number
        found[int(number)] = evaluate(label[rows], probability(log.logit[rows]))
    return found
