"""Alignments that steer how a compressor, or the weights a period is logged with, go on.

The formulas are ours after the ideas of the papers named below; in each the teacher itself learns
freely.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fuxictr_loopfm.alignment.alignment import Alignment, Weights, autoencoder_of
from fuxictr_loopfm.compression.compressor import Compressor
from fuxictr_loopfm.registry import Option

_WEIGHT = Option("weight", float, 1.0, at_least=0)


class FrozenCompressor(Alignment):
    """The compressor stops learning after the teacher's training periods: the cheapest."""

    kind = "frozen_compressor"

    def step(self, compressor: Compressor, e: Tensor, label: Tensor, logged: Tensor | None) -> None:
        """Nothing is learned."""


class FixedDecoder(Alignment):
    """One decoder reads the embeddings of all versions: it and the scale stay, the encoder learns.

    After LTE (arXiv:2604.08181), whose fixed decoder gives versions one semantic basis. Ours: it is
    the first checkpoint's reconstruction decoder, and the standardisation of its target is frozen
    with it, so that an embedding decodes to the same activation at every time.
    """

    kind = "fixed_decoder"

    def begin(self, compressor: Compressor, weights: Weights) -> None:
        """Freeze the decoder."""
        autoencoder_of(compressor, self.kind).autoencoder.decoder.requires_grad_(False)

    def step(self, compressor: Compressor, e: Tensor, label: Tensor, logged: Tensor | None) -> None:
        """The encoder learns what the old decoder can read."""
        trainer = autoencoder_of(compressor, self.kind)
        trainer.descend(lambda network: network.loss(e.to(trainer.device), keep_scale=True))


class BackCompatible(Alignment):
    """A new decoder learns beside the encoder, which must also be read by the first one.

    L_new + weight L(encoder, first decoder), after backward-compatible training (Shen 2020), where
    the frozen head is a classifier; ours is the decoder.
    """

    kind = "back_compatible"
    options: ClassVar[tuple[Option, ...]] = (_WEIGHT,)
    weight: float

    def begin(self, compressor: Compressor, weights: Weights) -> None:
        """Keep a copy of the decoder."""
        decoder = autoencoder_of(compressor, self.kind).autoencoder.decoder
        self._first: nn.Module = copy.deepcopy(decoder).requires_grad_(False)

    def step(self, compressor: Compressor, e: Tensor, label: Tensor, logged: Tensor | None) -> None:
        """One step on both losses."""
        trainer = autoencoder_of(compressor, self.kind)
        e = e.to(trainer.device)
        trainer.descend(
            lambda network: (
                network.loss(e)
                + self.weight * network.loss(e, decoder=self._first, keep_scale=True)
            )
        )

    def state(self) -> dict[str, Any]:
        """The first decoder."""
        return {"first": self._first.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As in the base class."""
        self._first.load_state_dict(state["first"])


class Anchored(Alignment):
    """The encoder is held to the embeddings that were logged for the rows it learns from.

    L_new + weight mean (encoder(e_new) - z_logged)^2. Ours: the anchors are the rows of the period
    that has just been logged, which need no further pass of the teacher.
    """

    kind = "anchored"
    options: ClassVar[tuple[Option, ...]] = (_WEIGHT,)
    needs_logged = True
    weight: float

    def begin(self, compressor: Compressor, weights: Weights) -> None:
        """Refuse a compressor without an encoder of its own."""
        autoencoder_of(compressor, self.kind)

    def step(self, compressor: Compressor, e: Tensor, label: Tensor, logged: Tensor | None) -> None:
        """One step on both losses; on the first alone for rows that nobody logged."""
        trainer = autoencoder_of(compressor, self.kind)
        e = e.to(trainer.device)
        if logged is None:
            trainer.step(e)
            return
        anchor = logged.to(trainer.device)
        trainer.descend(
            lambda network: (
                network.loss(e) + self.weight * nn.functional.mse_loss(network.encode(e), anchor)
            )
        )


class Ema(Alignment):
    """A period is logged with a running mean of the checkpoints, logits included.

    mean = momentum mean + (1 - momentum) newest after every period, of teacher and compressor.
    Logs of some ten periods need a smaller momentum than the 0.9 to 0.99 of many small chunks.
    """

    kind = "ema"
    options: ClassVar[tuple[Option, ...]] = (
        Option("momentum", float, 0.5, at_least=0, less_than=1),
    )
    momentum: float

    def begin(self, compressor: Compressor, weights: Weights) -> None:
        """The mean is the first checkpoint."""
        self._mean = {name: value.detach().clone() for name, value in weights.items()}

    def learned(self, weights: Weights) -> None:
        """Take the checkpoint into the mean; numbers that are no float are the newest's."""
        for name, value in weights.items():
            if value.is_floating_point():
                self._mean[name] = torch.lerp(value.detach(), self._mean[name], self.momentum)
            else:
                self._mean[name] = value.detach().clone()

    def logs_with(self) -> Weights:
        """The mean."""
        return self._mean

    def state(self) -> dict[str, Any]:
        """The mean."""
        return {"mean": dict(self._mean)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As in the base class."""
        self._mean = {
            name: value.to(self._mean[name].device) for name, value in state["mean"].items()
        }
