"""Losses that LoopFM is compared with: hand-computed values, and where their gradients go."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fuxictr_loopfm.distillation.registry import transfer_class, transfer_options
from fuxictr_loopfm.distillation.term import StepContext, TransferSpec
from fuxictr_loopfm.distillation.terms import (
    ContrastiveHint,
    PrivilegedHead,
    RegressionHint,
    StudentAdapter,
)

BATCH, WIDTH, DIM = 6, 5, 3


@pytest.fixture
def step() -> StepContext:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return StepContext(
        logged=torch.ones(BATCH, dtype=torch.bool),
        whole_trunk=draw(BATCH, WIDTH).requires_grad_(),
        whole_y_pred=torch.sigmoid(draw(BATCH)).requires_grad_(),
        whole_y_true=torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0]),
        whole_logit=draw(BATCH),
        whole_embedding=draw(BATCH, DIM),
    )


def test_fitnets_is_the_mean_squared_error_of_a_linear_map(step: StepContext) -> None:
    term = RegressionHint(WIDTH, DIM)
    with torch.no_grad():
        term.regressor.weight.zero_()
        term.regressor.bias.fill_(2.0)
    expected = sum((2.0 - float(v)) ** 2 for v in step.embedding.flatten()) / (BATCH * DIM)
    assert term(step).item() == pytest.approx(expected, rel=1e-6)


def test_contrastive_hint_equals_a_loop_over_samples(step: StepContext) -> None:
    term = ContrastiveHint(WIDTH, DIM, temperature=0.2)
    student = F.normalize(term.student(step.trunk), dim=1).tolist()
    teacher = F.normalize(term.teacher(step.embedding), dim=1).tolist()

    def score(i: int, j: int) -> float:
        return math.exp(sum(a * b for a, b in zip(student[i], teacher[j], strict=True)) / 0.2)

    total = 0.0
    for i in range(BATCH):
        forward = score(i, i) / sum(score(i, j) for j in range(BATCH))
        backward = score(i, i) / sum(score(j, i) for j in range(BATCH))
        total -= 0.5 * (math.log(forward) + math.log(backward)) / BATCH
    assert term(step).item() == pytest.approx(total, rel=1e-4)


def test_the_adapter_learns_from_labels_only_and_the_trunk_from_the_adapter(
    step: StepContext,
) -> None:
    term = StudentAdapter(WIDTH)
    adapted = term.adapter(step.logit.unsqueeze(1)).squeeze(1)
    parameters = list(term.adapter.parameters())
    wanted = torch.autograd.grad(
        F.binary_cross_entropy_with_logits(adapted, step.y_true), parameters
    )
    found = torch.autograd.grad(term(step), [*parameters, step.trunk])
    for expected, gradient in zip(wanted, found[:-1], strict=True):
        torch.testing.assert_close(gradient, expected)
    assert found[-1].abs().sum() > 0


def test_the_gradient_scale_holds_for_the_adapters_head_as_well(step: StepContext) -> None:
    spec = TransferSpec("kd", "aux_head_adapter", {"gradient_scale": 0.0})
    options = transfer_options(spec)
    del options["weight"]
    for term in transfer_class(spec).build(WIDTH, DIM, options):
        (gradient,) = torch.autograd.grad(term(step), [step.whole_trunk])
        assert not gradient.any()


def test_the_privileged_head_reads_the_trunk_but_does_not_move_it(step: StepContext) -> None:
    term = PrivilegedHead(WIDTH, DIM)
    gradients = torch.autograd.grad(term(step), [step.trunk, step.y_pred], allow_unused=True)
    assert gradients[0] is None
    assert gradients[1] is not None and gradients[1].abs().sum() > 0
