"""What a compressor is: it shortens a teacher's activations, and learns how beside the teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from fuxictr_loopfm.registry import Option


@dataclass(frozen=True)
class CompressorSpec:
    """Which compressor, and how wide: all that a configuration says of it.

    Attributes:
        kind: a name of ``compressors.COMPRESSORS``.
        dim: width d of the embedding.
        options: the compressor's own, by name. Together with kind and width they are what
            identifies a compressor of a given teacher.
    """

    kind: str
    dim: int = 32
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """What a compressor is told of the teacher whose activations it will see.

    Attributes:
        input_dim: width D of the activations.
        fit_periods: periods of the log that it learns from.
        seed: of its random numbers; the teacher's.
        device: where the activations are.
    """

    input_dim: int
    fit_periods: tuple[int, ...] = ()
    seed: int = 0
    device: torch.device | str = "cpu"


class Compressor(ABC):
    """Maps activations (B, D) to embeddings (B, d) in [-1, 1].

    Neither making nor stepping one may draw from torch's global random state: the teacher beside it
    must end with the very weights it would have alone.

    Attributes:
        kind: its name in configurations.
        options: its own settings; ``name`` is set by the key ``loopfm_compressor_<name>``.
    """

    kind: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = ()

    @classmethod
    @abstractmethod
    def build(cls, spec: CompressorSpec, training: Training) -> Compressor:
        """A compressor that has learned nothing yet."""

    @classmethod
    def epochs_afterwards(cls, spec: CompressorSpec) -> int:
        """Passes over the teacher's log once the teacher is trained.

        0 means that it learns beside the teacher instead, one step for each of its steps.
        """
        return 0

    @classmethod
    def problems(cls, spec: CompressorSpec) -> list[str]:
        """What options make together that none is by itself, one message each."""
        return []

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width d of the embedding."""

    @abstractmethod
    def step(self, e: Tensor, label: Tensor) -> Tensor:
        """Learn from one batch.

        Args:
            e: (B, D) activations, detached.
            label: (B,) float labels of the same samples, for compressors with a supervised loss.

        Returns:
            () detached loss.
        """

    @abstractmethod
    def encode(self, e: Tensor) -> Tensor:
        """Activations (B, D) to embeddings (B, d) float32 in [-1, 1]; learns nothing."""

    def training_state(self) -> dict[str, Any] | None:
        """All that later steps depend on, as tensors and numbers, so that a pass can be resumed.

        None, as here, if the class does not tell: a teacher that learns every period then starts
        over after a kill.
        """
        return None

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where ``training_state`` was asked for."""
        raise NotImplementedError

    @abstractmethod
    def save(self, path: Path | str) -> None:
        """Write it to ``path``, atomically; ``saved_weights`` helps."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> Compressor:
        """Read what ``save`` wrote, ready to encode and to go on learning.

        Raises:
            ProvenanceError: the file is missing, damaged, or of another class.
        """
