"""Settings that follow from a log's own statistics: how often the id of a typical row was seen.

Ids that were seen a few times cannot be learned, only remembered. A second pass over them, or an
embedding of their own, makes a model surer and worse; docs/scale.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fuxictr_loopfm.prepared.dataset import PreparedDataset

# Of the column with the rarest ids: how often the id of the median row is in the training rows.
# From here on a second pass of the teacher learns; below, it remembers.
OFTEN = 50
# Rare is an id in fewer rows than this; a column has many if so large a share of rows has one.
RARE, MANY_RARE = 5, 0.2
# Ids in fewer rows share one embedding, which is so trained for those that training never saw.
LEAST_COUNT = 3
# A teacher sees what its user did, knows the labels, and goes on learning, as in production.
FRESH: dict[str, Any] = {
    "loopfm_checkpoint": "every_period",
    "loopfm_history": "ids+label+log_age",
    "loopfm_max_len": 50,
}


@dataclass(frozen=True)
class LogRule:
    """What the rule says of one view of a log.

    Attributes:
        params: settings by key.
        most: by categorical column, how many training rows have its most frequent value. A count
            threshold above it would leave the column without any value.
    """

    params: Mapping[str, Any]
    most: Mapping[str, int]


def rule_of(prepared: PreparedDataset, view: str) -> LogRule:
    """The rule for a teacher or a vertical model; only training rows are looked at.

    Args:
        prepared: the log.
        view: ``teacher`` or ``vertical``.
    """
    periods = prepared.spec.periods
    rows = prepared.rows_of(periods.teacher_train if view == "teacher" else periods.vertical_train)
    most: dict[str, int] = {}
    typical, rare = np.inf, 0.0
    for column in prepared.spec.columns_of(view):
        if column.type != "categorical":
            continue
        codes = pd.factorize(prepared.array(column.name)[rows])[0]
        seen = np.bincount(codes)[codes]
        most[column.name] = int(seen.max())
        typical = min(typical, float(np.median(seen)))
        rare = max(rare, float(np.mean(seen < RARE)))
    params: dict[str, Any] = {"min_categr_count": LEAST_COUNT if rare >= MANY_RARE else 1}
    if view == "teacher":
        params["epochs"] = 1 if typical < OFTEN else 2
        params |= FRESH
    return LogRule(params, most)
