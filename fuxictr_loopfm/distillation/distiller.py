"""Knowledge distillation from logged teacher logits, attached to a model from outside.

Two forms: the auxiliary head of ExFM on the model's trunk, which only the serving head survives,
and plain single-head distillation. Neither touches the model's code or its saved weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuxictr_loopfm.distillation.terms import (
    ContrastiveHint,
    PrivilegedHead,
    RegressionHint,
    StepContext,
    StudentAdapter,
)
from fuxictr_loopfm.distillation.trunk import find_trunk, flat_fields
from fuxictr_loopfm.errors import ConfigError

TEACHER_LOGIT = "teacher_logit"
TEACHER_EMBEDDING = "teacher_embedding"


@dataclass(frozen=True)
class DistillationSpec:
    """ExFM's knobs. Paper: arXiv:2502.17494, Eqs. (3)-(5).

    Attributes:
        kind: ``aux_head``, ``single_head``, ``aux_head_adapter`` (the head and a student adapter),
            ``privileged`` or ``none``.
        weight: w, weight of the distillation loss.
        label_scale: alpha, factor on the teacher's probability, clipped at 1.
        gradient_scale: beta, factor on the gradient that reaches the trunk (``aux_head`` only).
        trunk: module path whose input, or output for an activation, feeds the head; None finds it.
        hint: ``fitnets``, ``crd`` or ``none``; compares the trunk with the teacher's embedding.
        hint_weight, hint_temperature: weight of that loss, and its temperature (``crd``).
    """

    kind: str
    weight: float = 1.0
    label_scale: float = 1.0
    gradient_scale: float = 1.0
    trunk: str | None = None
    hint: str = "none"
    hint_weight: float = 0.1
    hint_temperature: float = 0.1


class AuxiliaryHead(nn.Module):
    """Distillation head: one hidden layer of the trunk's width, then a logit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, trunk: Tensor) -> Tensor:
        """(B, width) to (B,) logits."""
        return self.layers(trunk).squeeze(-1)


def scale_gradient(value: Tensor, factor: float) -> Tensor:
    """Identity forward; multiplies the gradient by ``factor`` backward."""
    return value * factor + (value * (1.0 - factor)).detach()


class Distiller:
    """Adds the distillation loss to a FuxiCTR model's ``compute_loss``.

    The head lives outside the model: it is neither saved, counted nor served. Samples whose teacher
    logit is NaN were not logged and add no distillation loss.
    """

    def __init__(self, model: Any, spec: DistillationSpec, example: Mapping[str, Any]) -> None:
        """Attach to ``model``; ``example`` is one batch, used to find the trunk.

        Raises:
            ConfigError: ``loopfm_kd_trunk`` names no module, or no trunk can be found.
        """
        self.model = model
        self.spec = spec
        self.steps = 0
        self._trunk: Tensor | None = None
        self._logit: Tensor | None = None
        self._embedding: Tensor | None = None
        self.head: AuxiliaryHead | None = None
        self.terms: list[tuple[float, nn.Module]] = []
        if spec.kind != "single_head":
            self._attach_to_trunk(example)
        self._train_step: Callable[[Any], Tensor] = model.train_step
        self._compute_loss: Callable[..., Tensor] = model.compute_loss
        # object.__setattr__ is not needed: nn.Module keeps plain callables as attributes.
        model.train_step = MethodType(lambda _, batch: self.train_step(batch), model)
        model.compute_loss = MethodType(
            lambda _, return_dict, y_true: self.compute_loss(return_dict, y_true), model
        )

    def _attach_to_trunk(self, example: Mapping[str, Any]) -> None:
        spec, model = self.spec, self.model
        self.trunk_path, width = find_trunk(model, example, spec.trunk)
        module = model.get_submodule(self.trunk_path)
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(self._keep_input)
        else:
            module.register_forward_hook(self._keep_output)
        if spec.kind in ("aux_head", "aux_head_adapter"):
            self.head = AuxiliaryHead(width)
        if spec.kind == "aux_head_adapter":
            self.terms.append((spec.weight, StudentAdapter(width)))
        dim = example[TEACHER_EMBEDDING].shape[1] if TEACHER_EMBEDDING in example else 0
        if spec.kind == "privileged":
            self.terms.append((spec.weight, PrivilegedHead(width, dim)))
        if spec.hint == "fitnets":
            self.terms.append((spec.hint_weight, RegressionHint(width, dim)))
        if spec.hint == "crd":
            hint = ContrastiveHint(width, dim, spec.hint_temperature)
            self.terms.append((spec.hint_weight, hint))
        heads = [
            head for head in (self.head, *(term for _, term in self.terms)) if head is not None
        ]
        parameters = [p for head in heads for p in head.to(model.device).parameters()]
        model.optimizer.add_param_group({"params": parameters})

    def _keep_input(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._trunk = inputs[0]

    def _keep_output(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._trunk = flat_fields(output)

    def train_step(self, batch: Mapping[str, Any]) -> Tensor:
        """FuxiCTR's training step with this batch's teacher logits at hand."""
        self._logit = batch[TEACHER_LOGIT].to(self.model.device).float().view(-1)
        if TEACHER_EMBEDDING in batch:
            self._embedding = batch[TEACHER_EMBEDDING].to(self.model.device).float()
        before = self.steps
        loss = self._train_step(batch)
        if self.steps == before:
            raise ConfigError(
                f"model {type(self.model).__name__} does not call compute_loss in its train_step, "
                "so distillation cannot reach it; set loopfm_kd: none"
            )
        return loss

    def compute_loss(self, return_dict: Mapping[str, Tensor], y_true: Tensor) -> Tensor:
        """The model's own loss plus the weighted transfer losses."""
        self.steps += 1
        total = self._compute_loss(return_dict, y_true)
        if self.spec.kind in ("aux_head", "aux_head_adapter", "single_head"):
            total = total + self.spec.weight * self.loss(return_dict)
        if self.terms and bool(self._logged().any()):
            step = self._step_context(return_dict, y_true)
            total = total + sum(weight * term(step) for weight, term in self.terms)
        return total

    def _logged(self) -> Tensor:
        assert self._logit is not None
        return ~torch.isnan(self._logit)

    def _step_context(self, return_dict: Mapping[str, Tensor], y_true: Tensor) -> StepContext:
        assert self._trunk is not None and self._logit is not None
        logged = self._logged()
        return StepContext(
            trunk=self._trunk[logged],
            y_pred=return_dict["y_pred"].view(-1)[logged],
            y_true=y_true.view(-1)[logged],
            logit=self._logit[logged],
            embedding=None if self._embedding is None else self._embedding[logged],
        )

    def loss(self, return_dict: Mapping[str, Tensor]) -> Tensor:
        """Scalar BCE against min(alpha * sigmoid(teacher logit), 1); 0 if nothing was logged."""
        assert self._logit is not None
        logged = self._logged()
        if not bool(logged.any()):
            return self._logit.new_zeros(())
        target = (self.spec.label_scale * torch.sigmoid(self._logit[logged])).clamp(max=1.0)
        if self.head is None:
            predicted = return_dict["y_pred"].view(-1)[logged]
            return F.binary_cross_entropy(predicted, target)
        assert self._trunk is not None
        trunk = scale_gradient(self._trunk, self.spec.gradient_scale)
        return F.binary_cross_entropy_with_logits(self.head(trunk)[logged], target)
