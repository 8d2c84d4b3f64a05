"""The autoencoder trained later than the teacher, and two that are not trained: controls."""

from __future__ import annotations

import torch
from torch import Tensor

from fuxictr_loopfm.compression.autoencoder import CoTrainer
from fuxictr_loopfm.compression.compressor import CompressorSpec
from fuxictr_loopfm.registry import Option


class PostHoc(CoTrainer):
    """The same autoencoder, trained on the finished teacher's activations."""

    kind = "post_hoc"
    options = (*CoTrainer.options, Option("epochs", int, 2, at_least=1))

    @classmethod
    def epochs_afterwards(cls, spec: CompressorSpec) -> int:
        """What the configuration says."""
        epochs: int = spec.options["epochs"]
        return epochs


class Untrained(CoTrainer):
    """An autoencoder with its first weights: learns its input's scale, as all do, and no more."""

    kind = "untrained"

    def step(self, e: Tensor, label: Tensor | None = None) -> Tensor:
        """Enter activations (B, D) into the running statistics; returns the scalar loss."""
        with torch.no_grad():
            self.autoencoder.train()
            return self.autoencoder.loss(e.to(self.device))


class RandomProjection(Untrained):
    """One random linear layer, where an untrained autoencoder has two."""

    kind = "random_projection"

    @classmethod
    def hidden_width(cls, spec: CompressorSpec) -> int:
        """No hidden layer."""
        return 0
