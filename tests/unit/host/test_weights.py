"""Checkpoints: a model loads what it saved, whoever else writes the same name."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from fuxictr_loopfm.host.weights import OwnWeights


class Model(nn.Module):
    """As much of ``BaseModel`` as the checkpoints use."""

    device = torch.device("cpu")

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value))


def _values(model: Model) -> list[float]:
    values: list[float] = model.weight.tolist()
    return values


def test_another_run_of_the_same_name_does_not_change_what_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "expid.model"
    one, two = Model(1.0), Model(2.0)
    first, second = OwnWeights(one), OwnWeights(two)
    first.save(path)
    second.save(path)
    nn.init.zeros_(one.weight)
    first.load(path)
    assert _values(one) == [1.0] * 3
    assert torch.equal(torch.load(path, weights_only=True)["weight"], two.weight)


def test_the_newest_save_counts_and_a_model_that_saved_nothing_reads_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "expid.model"
    model = Model(1.0)
    own = OwnWeights(model)
    own.save(path)
    nn.init.constant_(model.weight, 3.0)
    own.save(path)
    nn.init.zeros_(model.weight)
    own.load(path)
    assert _values(model) == [3.0] * 3
    for reader in (OwnWeights(Model(0.0)), copy.deepcopy(own)):
        reader.load(path)
        assert _values(reader.model) == [3.0] * 3
