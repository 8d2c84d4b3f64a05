"""Transfer losses on what the teacher logged, attached to a model from outside.

Neither the model's code nor its saved weights are touched: the losses' own heads live here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from fuxictr_loopfm.distillation.registry import transfer_class, transfer_options
from fuxictr_loopfm.distillation.term import StepContext, TransferSpec
from fuxictr_loopfm.distillation.trunk import find_trunk, flat_fields
from fuxictr_loopfm.errors import ConfigError

TEACHER_LOGIT = "teacher_logit"
TEACHER_EMBEDDING = "teacher_embedding"


@dataclass(frozen=True)
class DistillationSpec:
    """What a model is trained with beside its own loss.

    Attributes:
        transfers: the losses, in the order in which their modules are made.
        trunk: module path whose input, or output for an activation, is the trunk; None finds it.
    """

    transfers: tuple[TransferSpec, ...]
    trunk: str | None = None


class Distiller:
    """Adds transfer losses to a FuxiCTR model's ``compute_loss``.

    Their heads live outside the model: they are neither saved, counted nor served. Samples whose
    teacher logit is NaN were not logged and add no such loss.

    Attributes:
        terms: the losses' modules with their weights.
        trunk_path: the module whose input or output is the trunk, if a loss reads that.
    """

    def __init__(self, model: Any, spec: DistillationSpec, example: Mapping[str, Any]) -> None:
        """Attach to ``model``; ``example`` is one batch, used to find the trunk.

        Raises:
            ConfigError: ``loopfm_kd_trunk`` names no module, or no trunk can be found.
        """
        self.model = model
        self.steps = 0
        self._trunk: Tensor | None = None
        self._logit: Tensor | None = None
        self._embedding: Tensor | None = None
        self.terms: list[tuple[float, nn.Module]] = []
        width = 0
        if any(transfer_class(transfer).needs_trunk for transfer in spec.transfers):
            width = self._watch_trunk(spec.trunk, example)
        dim = example[TEACHER_EMBEDDING].shape[1] if TEACHER_EMBEDDING in example else 0
        for transfer in spec.transfers:
            options = transfer_options(transfer)
            weight = options.pop("weight")
            modules = transfer_class(transfer).build(width, dim, options)
            self.terms += [(weight, module) for module in modules]
        parameters = [p for _, term in self.terms for p in term.to(model.device).parameters()]
        if parameters:
            model.optimizer.add_param_group({"params": parameters})
        self._train_step: Callable[[Any], Tensor] = model.train_step
        self._compute_loss: Callable[..., Tensor] = model.compute_loss
        # object.__setattr__ is not needed: nn.Module keeps plain callables as attributes.
        model.train_step = MethodType(lambda _, batch: self.train_step(batch), model)
        model.compute_loss = MethodType(
            lambda _, return_dict, y_true: self.compute_loss(return_dict, y_true), model
        )

    def _watch_trunk(self, path: str | None, example: Mapping[str, Any]) -> int:
        """Keep the trunk of every forward; returns its width."""
        self.trunk_path, width = find_trunk(self.model, example, path)
        module = self.model.get_submodule(self.trunk_path)
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(self._keep_input)
        else:
            module.register_forward_hook(self._keep_output)
        return width

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
        """The model's own loss plus the weighted transfer losses, () float32.

        Args:
            return_dict: what the model's forward pass gave, ``y_pred`` (B, 1) among it.
            y_true: (B, 1) labels.
        """
        self.steps += 1
        total = self._compute_loss(return_dict, y_true)
        step = self.step_of(return_dict, y_true)
        if bool(step.logged.any()):
            for weight, term in self.terms:
                total = total + weight * term(step)
        return total

    def step_of(self, return_dict: Mapping[str, Tensor], y_true: Tensor) -> StepContext:
        """What the losses read of a batch whose ``train_step`` is under way."""
        assert self._logit is not None
        return StepContext(
            logged=~torch.isnan(self._logit),
            whole_trunk=self._trunk,
            whole_y_pred=return_dict["y_pred"].view(-1),
            whole_y_true=y_true.view(-1),
            whole_logit=self._logit,
            whole_embedding=self._embedding,
        )
