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

from fuxictr_loopfm.errors import ConfigError

TEACHER_LOGIT = "teacher_logit"


@dataclass(frozen=True)
class DistillationSpec:
    """ExFM's knobs. Paper: arXiv:2502.17494, Eqs. (3)-(5).

    Attributes:
        kind: ``aux_head`` or ``single_head``.
        weight: w, weight of the distillation loss.
        label_scale: alpha, factor on the teacher's probability, clipped at 1.
        gradient_scale: beta, factor on the gradient that reaches the trunk (``aux_head`` only).
        trunk: module path whose input, or output for an activation, feeds the head; None finds it.
    """

    kind: str
    weight: float = 1.0
    label_scale: float = 1.0
    gradient_scale: float = 1.0
    trunk: str | None = None


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
        self.head: AuxiliaryHead | None = None
        if spec.kind == "aux_head":
            self.trunk_path, width = find_trunk(model, example, spec.trunk)
            module = model.get_submodule(self.trunk_path)
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(self._keep_input)
            else:
                module.register_forward_hook(self._keep_output)
            self.head = AuxiliaryHead(width).to(model.device)
            model.optimizer.add_param_group({"params": list(self.head.parameters())})
        self._train_step: Callable[[Any], Tensor] = model.train_step
        self._compute_loss: Callable[..., Tensor] = model.compute_loss
        # object.__setattr__ is not needed: nn.Module keeps plain callables as attributes.
        model.train_step = MethodType(lambda _, batch: self.train_step(batch), model)
        model.compute_loss = MethodType(
            lambda _, return_dict, y_true: self.compute_loss(return_dict, y_true), model
        )

    def _keep_input(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._trunk = inputs[0]

    def _keep_output(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._trunk = flat_fields(output)

    def train_step(self, batch: Mapping[str, Any]) -> Tensor:
        """FuxiCTR's training step with this batch's teacher logits at hand."""
        self._logit = batch[TEACHER_LOGIT].to(self.model.device).float().view(-1)
        before = self.steps
        loss = self._train_step(batch)
        if self.steps == before:
            raise ConfigError(
                f"model {type(self.model).__name__} does not call compute_loss in its train_step, "
                "so distillation cannot reach it; set loopfm_kd: none"
            )
        return loss

    def compute_loss(self, return_dict: Mapping[str, Tensor], y_true: Tensor) -> Tensor:
        """The model's own loss plus w times the distillation loss."""
        self.steps += 1
        return self._compute_loss(return_dict, y_true) + self.spec.weight * self.loss(return_dict)

    def loss(self, return_dict: Mapping[str, Tensor]) -> Tensor:
        """Scalar BCE against min(alpha * sigmoid(teacher logit), 1); 0 if nothing was logged."""
        assert self._logit is not None
        logged = ~torch.isnan(self._logit)
        if not bool(logged.any()):
            return self._logit.new_zeros(())
        target = (self.spec.label_scale * torch.sigmoid(self._logit[logged])).clamp(max=1.0)
        if self.head is None:
            predicted = return_dict["y_pred"].view(-1)[logged]
            return F.binary_cross_entropy(predicted, target)
        assert self._trunk is not None
        trunk = scale_gradient(self._trunk, self.spec.gradient_scale)
        return F.binary_cross_entropy_with_logits(self.head(trunk)[logged], target)


def flat_fields(output: Any) -> Tensor:
    """(B, W) view of an embedding layer's output: a dict of fields, stacked or flat."""
    if isinstance(output, Mapping):
        return torch.cat([v for v in output.values() if v.dim() == 2], dim=-1)
    return output.flatten(start_dim=1)


def find_trunk(model: Any, example: Mapping[str, Any], path: str | None) -> tuple[str, int]:
    """Module path and width of the representation that feeds the model's last logit.

    The trunk is the input of a ``Linear(width, 1)`` that sees one row per sample: preferably the
    last layer of an ``MLP_Block``, else the widest one. A model without any (a factorization
    machine) has no trunk; its concatenated field embeddings stand in (ours).

    Raises:
        ConfigError: no such module, or neither a trunk nor an embedding layer exists.
    """
    modules = dict(model.named_modules())
    if path is not None and path not in modules:
        raise ConfigError(f"loopfm_kd_trunk: {path!r} is no module; found {sorted(modules)[1:]}")
    widths = _output_widths(model, example, [path] if path else None)
    if path is not None:
        if path not in widths:
            raise ConfigError(f"loopfm_kd_trunk: {path!r} is not used by the model's forward")
        return path, widths[path]
    embeddings = [n for n, m in modules.items() if type(m).__name__ == "FeatureEmbeddingDict"]
    inside = tuple(f"{name}." for name in embeddings)
    batch_size = len(next(iter(example.values())))
    heads = {
        name: modules[name].in_features
        for name, rows in _linear_rows(model, example).items()
        if modules[name].out_features == 1 and rows == batch_size and not name.startswith(inside)
    }
    blocks = {n for n, m in modules.items() if type(m).__name__ == "MLP_Block"}
    in_block = [n for n in heads if any(n.startswith(f"{b}.mlp.") for b in blocks)]
    if heads:
        chosen = in_block[-1] if in_block else max(heads, key=lambda n: heads[n])
        return chosen, heads[chosen]
    for name in embeddings:
        if widths.get(name, 0) > 1:
            return name, widths[name]
    raise ConfigError(
        f"model {type(model).__name__}: found no trunk for the distillation head. Name the module "
        f"in loopfm_kd_trunk or use loopfm_kd: single_head."
    )


def _dry_forward(model: Any, example: Mapping[str, Any]) -> None:
    was_training = model.training
    model.eval()
    with torch.no_grad():
        model.forward(example)
    model.train(was_training)


def _linear_rows(model: Any, example: Mapping[str, Any]) -> dict[str, int]:
    """Rows of the 2-D input of each Linear, in the order they ran."""
    rows: dict[str, int] = {}

    def remember(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if inputs[0].dim() == 2:
                rows.pop(name, None)
                rows[name] = inputs[0].shape[0]

        return hook

    handles = [
        module.register_forward_pre_hook(remember(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        _dry_forward(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return rows


def _output_widths(
    model: Any, example: Mapping[str, Any], only: list[str] | None
) -> dict[str, int]:
    """Width of what the head would read at each named module (embedding layers by default)."""
    widths: dict[str, int] = {}

    def remember(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            value = inputs[0] if isinstance(module, nn.Linear) else flat_fields(output)
            widths[name] = value.shape[-1]

        return hook

    handles = [
        module.register_forward_hook(remember(name))
        for name, module in model.named_modules()
        if (name in only if only else type(module).__name__ == "FeatureEmbeddingDict")
    ]
    try:
        _dry_forward(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return widths
