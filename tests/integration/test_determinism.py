"""Same seed, same bits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Loop, new_loop

from fuxictr_loopfm.host.trainer import predict
from fuxictr_loopfm.pipeline.teacher import TeacherRun
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.runs.vertical import (
    EVALUATION_BATCH,
    Run,
    evaluation_batch_size,
    train_vertical,
)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert list(first) == list(second)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def trained(loop: Loop, expid: str, **overrides: Any) -> Any:
    run = Run(*loop.load(expid, **overrides))
    train_vertical(run)
    return run.model


@pytest.mark.parametrize("expid", ["base", "raw_label", "kd_loopfm"])
def test_runs_of_one_seed_have_equal_weights(loop: Loop, expid: str) -> None:
    first = weights(trained(loop, expid, seed=7))
    torch.manual_seed(123)
    np.random.seed(123)
    assert_same_bits(first, weights(trained(loop, expid, seed=7)))
    other = weights(trained(loop, expid, seed=8))
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_shuffled_epochs_are_reproducible_too(loop: Loop) -> None:
    wanted = {"seed": 7, "shuffle": True, "epochs": 2}
    first = weights(trained(loop, "loopfm", **wanted))
    assert_same_bits(first, weights(trained(loop, "loopfm", **wanted)))
    in_order = weights(trained(loop, "loopfm", **{**wanted, "shuffle": False}))
    assert any(not torch.equal(value, in_order[name]) for name, value in first.items())


def teacher_run(loop: Loop, root: Path, **overrides: Any) -> TeacherRun:
    experiment, workspace = loop.load("loopfm", **overrides)
    teacher = experiment.load_teacher()
    assert teacher is not None
    return TeacherRun(teacher, workspace.keys, workspace.prepared, root)


def test_the_compressor_leaves_the_teacher_untouched(
    planted_log: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dropout draws random numbers at every step, so a compressor that drew from them would show.
    loop = new_loop(tmp_path / "dropout", planted_log, net_dropout=0.3)
    with_compressor = teacher_run(loop, tmp_path / "with").ready()
    assert with_compressor.compressor is not None
    wider = teacher_run(loop, tmp_path / "wide", loopfm_dim=9, loopfm_taps="emb+hidden_1").ready()
    post_hoc = teacher_run(loop, tmp_path / "post", loopfm_compressor="post_hoc").ready()
    monkeypatch.setattr(TeacherRun, "_compressor_step", lambda *_: None)
    without = teacher_run(loop, tmp_path / "without").ready()
    assert without.compressor is None
    expected = weights(without.model)
    for run in (with_compressor, wider, post_hoc):
        assert_same_bits(weights(run.model), expected)
        assert run.teacher_fingerprint == without.teacher_fingerprint
    assert len({r.compressor_fingerprint for r in (with_compressor, wider, post_hoc)}) == 3


def test_a_loaded_teacher_is_the_trained_one(loop: Loop, tmp_path: Path) -> None:
    trained_run = teacher_run(loop, tmp_path).ready()
    loaded = teacher_run(loop, tmp_path).ready()
    assert_same_bits(weights(trained_run.model), weights(loaded.model))
    activation = torch.randn(3, 16)
    assert torch.equal(trained_run.encode(activation), loaded.encode(activation))


def test_evaluation_in_larger_batches_changes_no_bit(loop: Loop) -> None:
    run = Run(*loop.load("base"))
    test = train_vertical(run)["test"]
    found = []
    for size in (64, EVALUATION_BATCH):
        test.batch_size = size
        found.append(predict(run.model, test)["y_pred"])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("types", "gpu", "expected"),
    [
        (("categorical", "numeric"), -1, EVALUATION_BATCH),
        (("categorical", "sequence"), -1, 16),
        (("categorical", "loopfm_sequence"), -1, 16),
        (("categorical",), 0, 16),
    ],
)
def test_evaluation_batches_are_larger_where_nothing_depends_on_it(
    types: tuple[str, ...], gpu: int, expected: int
) -> None:
    features = {str(number): {"type": kind} for number, kind in enumerate(types)}
    params = {"batch_size": 16, "gpu": gpu}
    assert evaluation_batch_size(SimpleNamespace(features=features), params) == expected
