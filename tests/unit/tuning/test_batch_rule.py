"""The batch size of generated configurations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fuxictr_loopfm.prepared.dataset import Periods
from fuxictr_loopfm.tuning.batch_rule import batch_size_for


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (1_000, 256),
        (300 * 512 - 1, 256),
        (300 * 512, 512),
        (300 * 1024, 1024),
        (300 * 1_000_000, 1024),
    ],
)
def test_the_pass_keeps_its_steps(samples: int, expected: int) -> None:
    spec: Any = SimpleNamespace(rows=2 * samples, periods=Periods.split(4, teacher=1))
    assert batch_size_for(spec, spec.periods.vertical_train[:2]) == expected
