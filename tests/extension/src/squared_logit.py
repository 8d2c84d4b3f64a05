"""A transfer loss with an option of its own."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fuxictr_loopfm import LossTerm, register_transfer
from fuxictr_loopfm.distillation.term import KD_WEIGHT, StepContext
from fuxictr_loopfm.registry import Option


@register_transfer
class SquaredLogit(LossTerm):
    """A linear head on the trunk predicts the teacher's logit, up to ``clip`` on either side."""

    kind, key, board_name = "squared_logit", "kd", "KD(squared)"
    options = (KD_WEIGHT, Option("clip", float, 4.0, more_than=0))

    def __init__(self, width: int, dim: int, clip: float) -> None:
        super().__init__()
        self.head = nn.Linear(width, 1)
        self.clip = clip

    def forward(self, step: StepContext) -> Tensor:
        """Mean squared error."""
        target = step.logit.clamp(-self.clip, self.clip)
        return F.mse_loss(self.head(step.trunk).squeeze(1), target)
