"""A supervised compressor: it keeps of an activation what tells the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fuxictr_loopfm.compression.compressor import Compressor, CompressorSpec, Training
from fuxictr_loopfm.compression.compressors import register_compressor
from fuxictr_loopfm.compression.saved_weights import read_weights, write_weights
from fuxictr_loopfm.registry import Option

SCHEMA, VERSION = "toy.label_projection", 1


@register_compressor
class LabelProjection(Compressor):
    """z = tanh(W e), and a logistic regression on z that predicts the label."""

    kind = "label_projection"
    options = (Option("step_size", float, 0.05, more_than=0),)

    def __init__(self, weight: Tensor, head: Tensor, step_size: float) -> None:
        self.weight, self.head = weight.requires_grad_(), head.requires_grad_()
        self.optimizer = torch.optim.SGD([self.weight, self.head], lr=step_size)

    @classmethod
    def build(cls, spec: CompressorSpec, training: Training) -> LabelProjection:
        """Random weights, drawn from a generator of its own."""
        generator = torch.Generator().manual_seed(training.seed)
        weight = torch.randn(training.input_dim, spec.dim, generator=generator)
        head = torch.zeros(spec.dim)
        device = training.device
        return cls(weight.to(device), head.to(device), spec.options["step_size"])

    @property
    def dim(self) -> int:
        """Width d of the embedding."""
        return self.weight.shape[1]

    def encode(self, e: Tensor) -> Tensor:
        """Activations (B, D) to embeddings (B, d)."""
        return torch.tanh(e @ self.weight)

    def step(self, e: Tensor, label: Tensor) -> Tensor:
        """One step on the labels' log loss."""
        with torch.enable_grad():
            loss = F.binary_cross_entropy_with_logits(self.encode(e) @ self.head, label)
            self.optimizer.zero_grad()
            loss.backward()
        self.optimizer.step()
        return loss.detach()

    def save(self, path: Path | str) -> None:
        """Write weights and step size."""
        state = {"weight": self.weight.detach(), "head": self.head.detach()}
        spec: dict[str, Any] = {"step_size": self.optimizer.param_groups[0]["lr"]}
        write_weights(path, SCHEMA, VERSION, spec, state)

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> LabelProjection:
        """Read what ``save`` wrote."""
        content = read_weights(path, SCHEMA, VERSION)
        state = {name: tensor.to(device) for name, tensor in content["state"].items()}
        return cls(state["weight"], state["head"], content["spec"]["step_size"])
