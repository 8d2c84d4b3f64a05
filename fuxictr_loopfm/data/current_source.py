"""The teacher's output for the current impression itself, as a history of one event.

An oracle: it needs the teacher at serving time. The exception is an embedding of user fields alone
(tap ``user_only``), which a table by user could serve: the entity-only comparator.
"""

from __future__ import annotations

import numpy as np
import torch

from fuxictr_loopfm.layers.history import HistoryBatch


class CurrentSource:
    """Delivers each sample's own logged vector.

    Args:
        values: (N, d) float32 by event_id; NaN where nothing was logged.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def batch(self, rows: np.ndarray) -> HistoryBatch:
        """(B, 1, d) embeddings; an impression that was not logged has no event."""
        chosen = self.values[rows]
        logged = ~np.isnan(chosen).any(axis=1)
        chosen = np.where(logged[:, None], chosen, 0.0).astype(np.float32)
        return HistoryBatch(
            mask=torch.from_numpy(logged[:, None]), embedding=torch.from_numpy(chosen[:, None, :])
        )
