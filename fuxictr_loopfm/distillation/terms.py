"""Loss terms that transfer a logit, or more than a logit, during training only.

Each term reads the vertical model's trunk and what the teacher logged for the *current* sample;
none is part of the served model. They are what LoopFM is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuxictr_loopfm.distillation.term import HINT_WEIGHT, KD_WEIGHT, LossTerm, StepContext
from fuxictr_loopfm.registry import Option

ADAPTER_HIDDEN = 8
CONTRAST_DIM = 32
# ExFM's alpha, a factor on the teacher's probability, clipped at 1, and beta, a factor on the
# gradient that reaches the trunk. Paper: arXiv:2502.17494, Eqs. (3)-(5).
LABEL_SCALE = Option("label_scale", float, 1.0, at_least=0)
GRADIENT_SCALE = Option("gradient_scale", float, 1.0, at_least=0)


def small_mlp(inputs: int, hidden: int, outputs: int = 1) -> nn.Sequential:
    """One hidden ReLU layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class AuxiliaryHead(nn.Module):
    """Distillation head: one hidden layer of the trunk's width, then a logit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = small_mlp(width, width)

    def forward(self, trunk: Tensor) -> Tensor:
        """(B, width) to (B,) logits."""
        logit: Tensor = self.layers(trunk).squeeze(-1)
        return logit


def scale_gradient(value: Tensor, factor: float) -> Tensor:
    """``value`` as it is, of any shape; its gradient is multiplied by ``factor``."""
    return value * factor + (value * (1.0 - factor)).detach()


def soft_target(logit: Tensor, label_scale: float) -> Tensor:
    """(B,) min(alpha * sigmoid(teacher logit), 1)."""
    return (label_scale * torch.sigmoid(logit)).clamp(max=1.0)


class AuxiliaryHeadLoss(LossTerm):
    """ExFM's distillation: a head of its own on the trunk predicts what the teacher did."""

    kind, key, board_name = "aux_head", "kd", "KD"
    options = (KD_WEIGHT, LABEL_SCALE, GRADIENT_SCALE)

    def __init__(self, width: int, dim: int, label_scale: float, gradient_scale: float) -> None:
        super().__init__()
        self.label_scale, self.gradient_scale = label_scale, gradient_scale
        self.head = AuxiliaryHead(width)

    def forward(self, step: StepContext) -> Tensor:
        """BCE of the head against the teacher's soft label."""
        assert step.whole_trunk is not None
        target = soft_target(step.logit, self.label_scale)
        predicted = self.head(scale_gradient(step.whole_trunk, self.gradient_scale))
        return F.binary_cross_entropy_with_logits(predicted[step.logged], target)


class SingleHeadLoss(LossTerm):
    """Plain distillation: the serving head itself predicts what the teacher did."""

    kind, key, board_name = "single_head", "kd", "KD(single head)"
    options = (KD_WEIGHT, LABEL_SCALE)
    needs_trunk = False

    def __init__(self, width: int, dim: int, label_scale: float) -> None:
        super().__init__()
        self.label_scale = label_scale

    def forward(self, step: StepContext) -> Tensor:
        """BCE of the serving head against the teacher's soft label."""
        return F.binary_cross_entropy(step.y_pred, soft_target(step.logit, self.label_scale))


class AdaptedHeadLoss(AuxiliaryHeadLoss):
    """The auxiliary head, and beside it a student adapter, weighted alike."""

    kind, board_name = "aux_head_adapter", "KD(adapter)"

    @classmethod
    def build(cls, width: int, dim: int, options: Mapping[str, Any]) -> list[nn.Module]:
        """The head, then the adapter."""
        return [cls(width, dim, **options), StudentAdapter(width, options["gradient_scale"])]


class StudentAdapter(nn.Module):
    """Adapts the teacher's prediction to today's labels, and distils the adapted one.

    Closes the gap between an older teacher and newer data. Paper: arXiv:2502.17494, Eqs. (6)-(7);
    the logit as input is ours.
    """

    def __init__(self, width: int, gradient_scale: float = 1.0) -> None:
        super().__init__()
        self.gradient_scale = gradient_scale
        self.adapter = small_mlp(1, ADAPTER_HIDDEN)
        self.head = small_mlp(width, width)

    def forward(self, step: StepContext) -> Tensor:
        """L_sta on the adapter alone, plus distillation of its detached output; () float32."""
        adapted = self.adapter(step.logit.unsqueeze(1)).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(adapted, step.y_true)
        distilled = self.head(scale_gradient(step.trunk, self.gradient_scale)).squeeze(1)
        target = torch.sigmoid(adapted).detach()
        return loss + F.binary_cross_entropy_with_logits(distilled, target)


class PrivilegedHead(LossTerm):
    """A head that also sees the teacher's current embedding teaches the serving head.

    Privileged features distillation (Xu et al. 2020) with the embedding as privileged input; the
    joint training on a detached trunk is ours.
    """

    kind, key, board_name = "privileged", "kd", "PFD"
    options = (KD_WEIGHT,)
    needs_embedding = True

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.head = small_mlp(width + dim, width)

    def forward(self, step: StepContext) -> Tensor:
        """BCE of the privileged head on labels, plus BCE of the serving head on it."""
        seen = torch.cat([step.trunk.detach(), step.embedding], dim=1)
        privileged = self.head(seen).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(privileged, step.y_true)
        target = torch.sigmoid(privileged).detach()
        return loss + F.binary_cross_entropy(step.y_pred, target)


class RegressionHint(LossTerm):
    """FitNets: the trunk, mapped linearly, should predict the teacher's embedding.

    Romero et al. 2015; the trunk as the student's layer and the mean over d are ours.
    """

    kind, key, board_name = "fitnets", "hint", "FitNets"
    options = (HINT_WEIGHT,)
    needs_embedding = True

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.regressor = nn.Linear(width, dim)

    def forward(self, step: StepContext) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(self.regressor(step.trunk), step.embedding)


class ContrastiveHint(LossTerm):
    """CRD-InfoNCE: a sample's trunk should be closest to its own teacher embedding.

    Tian et al. 2020, simplified to in-batch negatives without a memory bank, in both directions
    (ours).
    """

    kind, key, board_name = "crd", "hint", "CRD-InfoNCE"
    options = (HINT_WEIGHT, Option("temperature", float, 0.1, more_than=0))
    needs_embedding = True
    # Each sample is contrasted with all others of its batch.
    needs_whole_batch = True

    def __init__(self, width: int, dim: int, temperature: float) -> None:
        super().__init__()
        self.student = nn.Linear(width, CONTRAST_DIM)
        self.teacher = nn.Linear(dim, CONTRAST_DIM)
        self.temperature = temperature

    def forward(self, step: StepContext) -> Tensor:
        """Mean of the two directions' cross entropies."""
        student = F.normalize(self.student(step.trunk), dim=1)
        teacher = F.normalize(self.teacher(step.embedding), dim=1)
        similarity = student @ teacher.T / self.temperature
        own = torch.arange(len(similarity), device=similarity.device)
        return 0.5 * (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own))
