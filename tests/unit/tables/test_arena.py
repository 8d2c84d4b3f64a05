"""Arenas whose rows keep one second moment each, against the same optimizer written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fuxictr_loopfm.tables import rules
from fuxictr_loopfm.tables.arena import Arena, Lookup

ROWS, WIDTH, STEPS, LR = 60, 4, 400, 1e-2


@pytest.mark.parametrize("has_kernels", [True, False])
@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_one_square_a_row_is_the_mean_over_its_width(
    monkeypatch: pytest.MonkeyPatch, has_kernels: bool, optimizer: str
) -> None:
    monkeypatch.setattr(rules, "has_kernels", lambda _device: has_kernels)
    random = np.random.default_rng(7)
    table = nn.Embedding(ROWS, WIDTH)
    expected = table.weight.detach().double().numpy().copy()
    rule = rules.Adam(LR) if optimizer == "adam" else rules.Adagrad(LR)
    arena = Arena([table], rule, is_row_wise=True)
    first, second = np.zeros((ROWS, WIDTH)), np.zeros((ROWS, 1))
    for step in range(1, STEPS + 1):
        ids = (ROWS * random.random(3) ** 3).astype(np.int64)
        given = random.normal(0, 10.0 ** random.uniform(-3, 0), (len(ids), WIDTH))
        rows, inverse = arena.distinct(torch.from_numpy(ids))
        arena.catch_up(rows)
        lookup = Lookup(rows, inverse, torch.from_numpy(given).float())
        arena.step(*arena.gradients([lookup]), [0])

        grad = np.zeros((ROWS, WIDTH))
        np.add.at(grad, ids, given)
        square = (grad * grad).mean(axis=1, keepdims=True)
        if optimizer == "adam":
            first = 0.9 * first + 0.1 * grad
            second = 0.999 * second + 0.001 * square
            root = np.sqrt(second / (1 - 0.999**step))
            expected -= LR * first / (1 - 0.9**step) / (root + 1e-8)
        else:
            second += square
            expected -= LR * grad / (np.sqrt(second) + 1e-10)
    arena.flush()
    found = table.weight.detach().numpy()
    assert np.abs(found - expected).max() < 5e-6 * np.abs(expected).max()
    # The squares take 4 bytes a row instead of 4 a weight.
    assert Arena([table], rule).bytes_per_row() - arena.bytes_per_row() == 4 * (WIDTH - 1)
