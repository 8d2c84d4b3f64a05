"""The closed form of Adam's later moves against its sum, term by term in float64."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_loopfm.tables.decay import FIRST_STEP, DecayTable

EPS = 1e-8


def summed(step: int, root: float, beta1: float, beta2: float, shrink: float) -> float:
    """Moves for ever after ``step``, for a momentum and a learning rate of 1."""
    total = 0.0
    for j in range(1, 2_000):
        rate = (beta1 / shrink) ** j / (1 - beta1 ** (step + j))
        total += rate / (root * np.sqrt(beta2**j / (1 - beta2 ** (step + j))) + EPS)
    return total


@pytest.mark.parametrize("shrink", [1.0, 1 - 1e-5])
@pytest.mark.parametrize("step", [FIRST_STEP, 500, 5_000, 100_000])
def test_three_nodes_stand_for_the_whole_sum(step: int, shrink: float) -> None:
    nodes, weights = DecayTable(0.9, 0.999, shrink).up_to(step)
    for root in 10.0 ** np.arange(-12, 3):
        found = (weights[step] / (nodes[step] * root + EPS)).sum()
        assert found == pytest.approx(summed(step, root, 0.9, 0.999, shrink), rel=1e-7)


def test_a_ratio_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="below 1"):
        DecayTable(0.9995, 0.999)
