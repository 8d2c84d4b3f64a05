"""Loss terms that transfer more than a logit, or transfer it another way, during training only.

Each term reads the vertical model's trunk and what the teacher logged for the *current* sample;
none is part of the served model. They are what LoopFM is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ADAPTER_HIDDEN = 8
CONTRAST_DIM = 32


@dataclass(frozen=True)
class StepContext:
    """One training batch, restricted to the B samples that the teacher logged.

    Attributes:
        trunk: (B, W) the vertical model's trunk, with gradient.
        y_pred: (B,) the serving head's probability, with gradient.
        y_true: (B,) labels.
        logit: (B,) the teacher's logit.
        embedding: (B, d) the teacher's compressed embedding, or None if it is not loaded.
    """

    trunk: Tensor
    y_pred: Tensor
    y_true: Tensor
    logit: Tensor
    embedding: Tensor | None


def small_mlp(inputs: int, hidden: int, outputs: int = 1) -> nn.Sequential:
    """One hidden ReLU layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class StudentAdapter(nn.Module):
    """Adapts the teacher's prediction to today's labels, and distils the adapted one.

    Closes the gap between an older teacher and newer data. Paper: arXiv:2502.17494, Eqs. (6)-(7);
    the logit as input is ours.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adapter = small_mlp(1, ADAPTER_HIDDEN)
        self.head = small_mlp(width, width)

    def forward(self, step: StepContext) -> Tensor:
        """L_sta on the adapter alone, plus distillation of its detached output."""
        adapted = self.adapter(step.logit.unsqueeze(1)).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(adapted, step.y_true)
        distilled = self.head(step.trunk).squeeze(1)
        target = torch.sigmoid(adapted).detach()
        return loss + F.binary_cross_entropy_with_logits(distilled, target)


class PrivilegedHead(nn.Module):
    """A head that also sees the teacher's current embedding teaches the serving head.

    Privileged features distillation (Xu et al. 2020) with the embedding as privileged input; the
    joint training on a detached trunk is ours.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.head = small_mlp(width + dim, width)

    def forward(self, step: StepContext) -> Tensor:
        """BCE of the privileged head on labels, plus BCE of the serving head on it."""
        assert step.embedding is not None
        seen = torch.cat([step.trunk.detach(), step.embedding], dim=1)
        privileged = self.head(seen).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(privileged, step.y_true)
        target = torch.sigmoid(privileged).detach()
        return loss + F.binary_cross_entropy(step.y_pred, target)


class RegressionHint(nn.Module):
    """FitNets: the trunk, mapped linearly, should predict the teacher's embedding.

    Romero et al. 2015; the trunk as the student's layer and the mean over d are ours.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.regressor = nn.Linear(width, dim)

    def forward(self, step: StepContext) -> Tensor:
        """Mean squared error."""
        assert step.embedding is not None
        return F.mse_loss(self.regressor(step.trunk), step.embedding)


class ContrastiveHint(nn.Module):
    """CRD-InfoNCE: a sample's trunk should be closest to its own teacher embedding.

    Tian et al. 2020, simplified to in-batch negatives without a memory bank, in both directions
    (ours).
    """

    def __init__(self, width: int, dim: int, temperature: float) -> None:
        super().__init__()
        self.student = nn.Linear(width, CONTRAST_DIM)
        self.teacher = nn.Linear(dim, CONTRAST_DIM)
        self.temperature = temperature

    def forward(self, step: StepContext) -> Tensor:
        """Mean of the two directions' cross entropies."""
        assert step.embedding is not None
        student = F.normalize(self.student(step.trunk), dim=1)
        teacher = F.normalize(self.teacher(step.embedding), dim=1)
        similarity = student @ teacher.T / self.temperature
        own = torch.arange(len(similarity), device=similarity.device)
        return 0.5 * (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own))
