"""What a loss that transfers has in common: what it reads of a step, its options, its needs.

Each term reads the vertical model's trunk or prediction and what the teacher logged for the
*current* sample; none is part of the served model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor, nn

from fuxictr_loopfm.registry import Option

KD_WEIGHT = Option("weight", float, 1.0, at_least=0)
HINT_WEIGHT = Option("weight", float, 0.1, at_least=0)


@dataclass(frozen=True)
class StepContext:
    """One training batch of S samples, of which the teacher logged B.

    Attributes:
        logged: (S,) bool, which samples the teacher logged; at least one.
        whole_trunk: (S, W) the vertical model's trunk, with gradient; None if no term reads it.
        whole_y_pred: (S,) the serving head's probability, with gradient.
        whole_y_true: (S,) labels.
        whole_logit: (S,) the teacher's logit, NaN where not logged.
        whole_embedding: (S, d) the teacher's compressed embedding; None if no term reads it.
    """

    logged: Tensor
    whole_trunk: Tensor | None
    whole_y_pred: Tensor
    whole_y_true: Tensor
    whole_logit: Tensor
    whole_embedding: Tensor | None

    @cached_property
    def trunk(self) -> Tensor:
        """(B, W) the trunk of the logged samples, with gradient."""
        assert self.whole_trunk is not None, "a term that reads the trunk has needs_trunk"
        return self.whole_trunk[self.logged]

    @cached_property
    def y_pred(self) -> Tensor:
        """(B,) the serving head's probability of the logged samples, with gradient."""
        return self.whole_y_pred[self.logged]

    @cached_property
    def y_true(self) -> Tensor:
        """(B,) labels of the logged samples."""
        return self.whole_y_true[self.logged]

    @cached_property
    def logit(self) -> Tensor:
        """(B,) the teacher's logit of the logged samples."""
        return self.whole_logit[self.logged]

    @cached_property
    def embedding(self) -> Tensor:
        """(B, d) the teacher's compressed embedding of the logged samples."""
        assert self.whole_embedding is not None, "a term that reads it has needs_embedding"
        return self.whole_embedding[self.logged]


@dataclass(frozen=True)
class TransferSpec:
    """Which loss, and its options: one value of ``loopfm_kd`` or ``loopfm_hint``.

    Attributes:
        key: ``kd`` or ``hint``.
        kind: a name of that key's registry.
        options: the loss's own, by name; what is missing has its default.
    """

    key: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


class LossTerm(nn.Module, ABC):
    """A loss on the logged samples of a batch; modules it owns are trained with the model.

    The constructor takes the widths of trunk and embedding and the options but ``weight``.

    Attributes:
        kind: the name in configurations.
        key: the configuration key that chooses it, ``kd`` or ``hint``.
        board_name: the name in leaderboards.
        options: its own settings; ``name`` is set by ``loopfm_<key>_<name>``. One is ``weight``:
            ``KD_WEIGHT`` or ``HINT_WEIGHT``.
        needs_trunk: it reads the vertical model's trunk.
        needs_embedding: it reads the teacher's embedding, not the logit alone.
        needs_whole_batch: it compares samples with each other, so that the loss of a batch is not
            the mean over its parts.
    """

    kind: ClassVar[str]
    key: ClassVar[str]
    board_name: ClassVar[str]
    options: ClassVar[tuple[Option, ...]]
    needs_trunk: ClassVar[bool] = True
    needs_embedding: ClassVar[bool] = False
    needs_whole_batch: ClassVar[bool] = False

    @classmethod
    def build(cls, width: int, dim: int, options: Mapping[str, Any]) -> list[nn.Module]:
        """The modules that together are the loss; each maps a ``StepContext`` to a scalar.

        Args:
            width: of the trunk; 0 if no loss of the run reads it.
            dim: of the teacher's embedding; 0 if no loss of the run reads it.
            options: the class's options by name, without ``weight``.
        """
        return [cls(width, dim, **options)]

    @abstractmethod
    def forward(self, step: StepContext) -> Tensor:
        """The loss of a step, () float32, not yet weighted."""
