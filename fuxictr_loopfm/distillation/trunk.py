"""The trunk of any model: the representation that feeds its last logit, found by a dry run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError, did_you_mean


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
        found = [name for name in sorted(modules) if name.count(".") < 2][1:]
        raise ConfigError(
            f"loopfm_kd_trunk: {path!r} is no module{did_you_mean(path, modules)}; expected "
            f"one of {found} or a module inside, or null to have it found."
        )
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
    widest = max(embeddings, key=lambda name: widths.get(name, 0), default=None)
    if widest is not None and widths.get(widest, 0) > 1:
        # First-order weights are an embedding layer too, the narrowest one.
        return widest, widths[widest]
    raise ConfigError(
        f"model {type(model).__name__}: found no trunk for the distillation head. Name the module "
        f"in loopfm_kd_trunk or use loopfm_kd: single_head."
    )


def _dry_forward(model: Any, example: Mapping[str, Any]) -> None:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            model.forward(example)
    finally:
        for module in training:
            module.training = True


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
