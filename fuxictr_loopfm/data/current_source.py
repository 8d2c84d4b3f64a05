"""The teacher's output for the current impression itself, as a history of one event.

An oracle: it needs the teacher at serving time. The exception is an embedding of user fields alone
(tap ``user_only``), which a table by user could serve: the entity-only comparator.
"""

from __future__ import annotations

import numpy as np
import torch

from fuxictr_loopfm.layers.batch import HistoryBatch
from fuxictr_loopfm.layers.spans import Spans


class CurrentSource:
    """Delivers each sample's own logged vector.

    Args:
        values: (N, d) float32 by event_id; NaN where nothing was logged.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def batch(self, rows: np.ndarray) -> HistoryBatch:
        """One event per sample; an impression that was not logged has none.

        Args:
            rows: (B,) event_ids of the samples.

        Returns:
            B histories of at most one event, with float32 embeddings of width d.
        """
        chosen = self.values[rows]
        logged = ~np.isnan(chosen).any(axis=1)
        return HistoryBatch(
            Spans.of_lengths(torch.from_numpy(logged.astype(np.int64))),
            embedding=torch.from_numpy(chosen[logged].astype(np.float32)),
        )
