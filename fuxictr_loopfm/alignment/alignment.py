"""What an alignment is: hooks into how a teacher that goes on learning compresses and logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from fuxictr_loopfm.compression.autoencoder import CoTrainer
from fuxictr_loopfm.compression.compressor import Compressor
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.registry import Option

Weights = Mapping[str, Tensor]


class Alignment:
    """Does nothing at any of its hooks; a subclass overrides what it needs.

    Attributes:
        kind: its name in configurations.
        options: its own settings; ``name`` is set by the key ``loopfm_alignment_<name>``.
        needs_anchors: ``fit`` is called before each period that is logged.
        needs_logged: ``step`` is told what was logged for the rows of its batch.
    """

    kind: ClassVar[str] = "none"
    options: ClassVar[tuple[Option, ...]] = ()
    needs_anchors: ClassVar[bool] = False
    needs_logged: ClassVar[bool] = False

    def __init__(self, **options: Any) -> None:
        for option in self.options:
            setattr(self, option.name, options.get(option.name, option.default))

    def begin(self, compressor: Compressor, weights: Weights) -> None:
        """Take note of the first checkpoint.

        Args:
            compressor: as it was fitted on the teacher's training periods.
            weights: of the teacher and its compressor, by name.
        """

    def step(self, compressor: Compressor, e: Tensor, label: Tensor, logged: Tensor | None) -> None:
        """Let the compressor learn from a batch of a period that is over.

        Args:
            compressor: the newest.
            e: (B, D) activations, detached.
            label: (B,) labels.
            logged: (B, d) embeddings that were logged for these rows; None where none were.
        """
        compressor.step(e, label)

    def fit(self, first: Tensor, newest: Tensor) -> None:
        """Learn a map from the newest checkpoint's space back to the first's.

        Args:
            first, newest: (n, d) embeddings of the same past rows by both checkpoints.
        """

    def apply(self, z: Tensor) -> Tensor:
        """Embeddings (B, d) of the newest checkpoint as they are logged, (B, d) in [-1, 1]."""
        return z

    def learned(self, weights: Weights) -> None:
        """Take note of a newer checkpoint, before the next period is logged."""

    def logs_with(self) -> Weights | None:
        """The weights that the next period is logged with; None for the newest."""
        return None

    def state(self) -> dict[str, Any]:
        """Tensors and numbers that later calls depend on, for a pass that is taken up again."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave; ``begin`` was called before."""


def autoencoder_of(compressor: Compressor, kind: str) -> CoTrainer:
    """The compressor as the autoencoder that an alignment steers.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(compressor, CoTrainer):
        raise ConfigError(
            f"loopfm_alignment: {kind}: expected a compressor with an encoder and a decoder such "
            f"as co_train, found {compressor.kind!r}. Choose none, frozen_compressor, procrustes "
            "or ridge."
        )
    return compressor
