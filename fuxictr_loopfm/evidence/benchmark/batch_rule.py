"""The batch size of generated configurations: larger logs get larger batches."""

from __future__ import annotations

from fuxictr_loopfm.prepared.dataset import DatasetSpec

SMALLEST, LARGEST = 256, 1024
# On KuaiRandPure_dev_s1 148 steps cost no AUC and 74 steps cost 0.002 to 0.005 (docs/scale.md);
# twice what was enough there.
LEAST_STEPS = 300


def batch_size_for(spec: DatasetSpec) -> int:
    """The largest power of two that leaves the one pass over the log ``LEAST_STEPS`` steps.

    It is at least ``SMALLEST`` and at most ``LARGEST``. Samples are counted as if all periods had
    equally many rows.

    Args:
        spec: the data set; its vertical model's training periods are what is passed over.
    """
    samples = spec.rows * len(spec.periods.vertical_train) // spec.periods.count
    size = SMALLEST
    while size < LARGEST and samples >= 2 * size * LEAST_STEPS:
        size *= 2
    return size
