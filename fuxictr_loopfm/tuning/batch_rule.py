"""The batch size of generated configurations: larger logs get larger batches."""

from __future__ import annotations

from collections.abc import Collection

from fuxictr_loopfm.prepared.dataset import DatasetSpec

SMALLEST, LARGEST = 256, 1024
# On KuaiRandPure_dev_s1 148 steps cost no AUC and 74 steps cost 0.002 to 0.005 (docs/scale.md);
# twice what was enough there.
LEAST_STEPS = 300


def batch_size_for(spec: DatasetSpec, periods: Collection[int]) -> int:
    """The largest power of two that leaves one pass over the periods ``LEAST_STEPS`` steps.

    It is at least ``SMALLEST`` and at most ``LARGEST``. Samples are counted as if all periods had
    equally many rows.

    Args:
        spec: the data set.
        periods: the periods that the model is trained on.
    """
    samples = spec.rows * len(periods) // spec.periods.count
    size = SMALLEST
    while size < LARGEST and samples >= 2 * size * LEAST_STEPS:
        size *= 2
    return size
