"""The extraction pass: logits, embeddings, modes, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.extraction.extractor import extract
from fuxictr_loopfm.extraction.tap import Tap, TapRecorder, resolve_taps

SOFT_LABEL = [Tap("soft_label", "")]


class Echo(nn.Module):
    """Predicts what the batch says."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.dropout = nn.Dropout(0.5)

    def forward(self, batch):
        assert "event_id" not in batch
        return {"y_pred": self.dropout(self.layer(batch["p"]))}


def echo(p, event_id=None, taps=SOFT_LABEL, encode=None, model=None):
    p = torch.as_tensor(p).reshape(-1, 1)
    ids = torch.arange(len(p)) if event_id is None else event_id
    return next(extract(model or Echo(), taps, encode, [{"event_id": ids, "p": p}]))


def test_every_batch_in_order_equals_a_plain_forward_pass(teacher, make_batch):
    batches = [make_batch(rows, seed) for seed, rows in enumerate([7, 1, 4])]
    taps = resolve_taps(teacher, ["hidden_0"])
    results = list(extract(teacher, taps, lambda e: e[:, :2] * 0.5, batches))
    teacher.eval()
    for batch, result in zip(batches, results, strict=True):
        assert result.event_id.tolist() == batch["event_id"].tolist()
        with torch.no_grad(), TapRecorder(teacher, taps) as recorder:
            p = teacher(batch)["y_pred"].double().reshape(-1)
            e = recorder.read()
        np.testing.assert_array_equal(result.embedding, e[:, :2].numpy() * 0.5)
        np.testing.assert_allclose(result.logit, torch.log(p / (1 - p)).numpy(), rtol=1e-6)
        assert result.event_id.dtype == np.int64
        assert result.embedding.dtype == result.logit.dtype == np.float32


def test_logits_are_clipped_and_exact_near_one():
    result = echo([0.5, 0.0, 1.0, 0.9999, 1e-9])
    bound = math.log((1 - 1e-7) / 1e-7)
    p = float(np.float32(0.9999))
    np.testing.assert_allclose(
        result.logit, [0.0, -bound, bound, math.log(p / (1 - p)), -bound], rtol=1e-6
    )


def test_a_lone_soft_label_fills_the_unit_interval():
    assert echo([0.0, 0.25, 1.0]).embedding.tolist() == [[-1.0], [-0.5], [1.0]]


def test_other_activations_are_kept_as_they_are_without_a_compressor():
    taps = [Tap("layer", "layer"), *SOFT_LABEL]
    assert echo([0.25], taps=taps).embedding.tolist() == [[0.25, 0.25]]


def test_a_soft_label_is_not_rescaled_for_a_compressor():
    assert echo([0.25], encode=lambda e: e).embedding.tolist() == [[0.25]]


@pytest.mark.parametrize("ids", [
    torch.tensor([[1 << 40], [7]]),
    torch.tensor([float(1 << 40), 7.0], dtype=torch.float64),
    np.array([1 << 40, 7]),
])  # fmt: skip
def test_event_ids_are_exact(ids):
    result = echo([0.5, 0.5], event_id=ids)
    assert result.event_id.tolist() == [1 << 40, 7]
    assert result.event_id.dtype == np.int64


@pytest.mark.parametrize("ids", [
    torch.tensor([1.5, 2.0], dtype=torch.float64),
    torch.tensor([16_777_216.0, 2.0]),
    torch.tensor([float("nan"), 2.0]),
])  # fmt: skip
def test_inexact_event_ids_are_refused(ids):
    with pytest.raises(DataError, match=r"event_id: expected whole numbers.*deliver int64"):
        echo([0.5, 0.5], event_id=ids)


def test_a_batch_without_event_ids_names_its_columns():
    with pytest.raises(DataError, match="expected the column event_id, found p, q"):
        next(extract(Echo(), SOFT_LABEL, None, [{"p": torch.zeros(1), "q": torch.zeros(1)}]))


@pytest.mark.parametrize("p", [float("nan"), 1.5, -0.1])
def test_predictions_that_are_no_probabilities_are_refused(p):
    class Diverged(Echo):
        def forward(self, batch):
            return {"y_pred": torch.where(self.layer(batch["p"]) > 0.5, p, 0.5)}

    with pytest.raises(DataError, match=r"\[0, 1\], found .* in row 1"):
        echo([0.5, 0.6], taps=[Tap("layer", "layer")], model=Diverged())


def test_broken_activations_and_embeddings_are_refused():
    with pytest.raises(DataError, match=r"tap soft_label: .*NaN"):
        echo([0.5, float("nan")])
    with pytest.raises(DataError, match="compressor returned NaN"):
        echo([0.5], encode=lambda e: e / 0)
    with pytest.raises(DataError, match=r"event ids \(2\), found 1 and 2"):
        echo([0.5, 0.5], encode=lambda e: e[:1])


def test_a_model_without_prediction_is_refused():
    class Bare(Echo):
        def forward(self, batch):
            return self.layer(batch["p"])

    with pytest.raises(DataError, match="Bare: expected a dictionary with the tensor y_pred"):
        echo([0.5], taps=[Tap("layer", "layer")], model=Bare())


def test_modes_are_put_back_exactly_and_gradients_stay_the_callers(teacher, make_batch):
    teacher.train()
    teacher.dnn.eval()
    before = {name: module.training for name, module in teacher.named_modules()}
    for _ in extract(teacher, resolve_taps(teacher, ["deep"]), None, [make_batch()] * 2):
        assert torch.is_grad_enabled()
        assert not teacher.training
    assert {name: module.training for name, module in teacher.named_modules()} == before


def test_a_pass_that_is_stopped_early_leaves_the_teacher_clean(teacher, make_batch):
    teacher.train()
    results = extract(teacher, resolve_taps(teacher, ["deep"]), None, [make_batch()] * 3)
    next(results)
    results.close()
    assert teacher.training
    assert "forward" not in vars(teacher)
    assert not any(module._forward_hooks for module in teacher.modules())


def test_an_entered_recorder_can_be_passed_and_stays_open(teacher, make_batch):
    taps = resolve_taps(teacher, ["deep"])
    own = list(extract(teacher, taps, None, [make_batch()]))
    with TapRecorder(teacher, taps) as recorder:
        shared = list(extract(teacher, recorder, None, [make_batch()]))
        assert recorder.read().shape == (7, 5)
    np.testing.assert_array_equal(shared[0].embedding, own[0].embedding)


def test_the_pass_draws_no_random_numbers(teacher, make_batch):
    state = torch.get_rng_state()
    list(extract(teacher.train(), resolve_taps(teacher, ["all"]), None, [make_batch()]))
    assert torch.equal(torch.get_rng_state(), state)


def test_results_do_not_share_memory_with_the_next_batch(teacher, make_batch):
    batches = [make_batch(seed=1), make_batch(seed=2)]
    results = extract(teacher, resolve_taps(teacher, ["emb"]), None, batches)
    first = next(results)
    copies = [part.copy() for part in first]
    next(results)
    for part, copy in zip(first, copies, strict=True):
        np.testing.assert_array_equal(part, copy)
