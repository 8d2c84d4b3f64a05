"""Update rules of table rows: torch's own optimizers, for rows that were not read for a while.

A rule changes rows of a block in place. ``update`` is one step with a gradient. ``catch_up`` is
what the dense optimizer would have done to the rows in the steps in which they had none; dense
means every row in every step, as torch does it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fuxictr_loopfm.tables import kernels
from fuxictr_loopfm.tables.decay import FIRST_STEP, NODES, DecayTable


@dataclass(frozen=True)
class Block:
    """Table rows and what is kept of each.

    Attributes:
        weight: (N, w) float32.
        state: by name (N, w) float32, or (N, 1) for one value a row.
        last: (N,) int32, the step after which a row is as the dense optimizer would have it; 0 for
            rows that were never read.
    """

    weight: Tensor
    state: dict[str, Tensor]
    last: Tensor


class TableRule(Protocol):
    """How rows are updated.

    Attributes:
        state_names: what is kept for each row beside its weights.
        squares: the name among them whose values may be one a row, their mean, or None.
        moves_unread: True if the dense optimizer also moves rows that never had a gradient.
    """

    @property
    def state_names(self) -> tuple[str, ...]: ...

    @property
    def squares(self) -> str | None: ...

    @property
    def moves_unread(self) -> bool: ...

    def update(self, block: Block, rows: Tensor, grad: Tensor, step: Tensor) -> None:
        """Step number ``step`` (U,) int64, from 1, of distinct rows (U,), gradients (U, w)."""

    def catch_up(self, block: Block, rows: Tensor, now: Tensor) -> None:
        """Steps up to ``now`` (U,) int64, without a gradient, of distinct rows (U,)."""


class Adam:
    """torch's Adam and AdamW.

    Args:
        lr: learning rate; fixed while rows lag behind, so a change needs a flush before it.
        betas, eps: as in torch.
        weight_decay: decoupled, as in AdamW; 0 is Adam.
        device: of the rows.
    """

    state_names = ("exp_avg", "exp_avg_sq")
    squares: str | None = "exp_avg_sq"

    def __init__(
        self,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.lr, self.eps = lr, eps
        self.beta1, self.beta2 = betas
        self.shrink = 1.0 - lr * weight_decay
        self.moves_unread = weight_decay > 0
        self._decay = DecayTable(*betas, self.shrink, device)
        self._constants = (lr, *betas, eps, self.shrink)

    def update(self, block: Block, rows: Tensor, grad: Tensor, step: Tensor) -> None:
        """See ``TableRule``."""
        first, second = (block.state[name] for name in self.state_names)
        if has_kernels(rows.device):
            kernels.adam_update(
                block.weight.numpy(), first.numpy(), second.numpy(),
                rows.numpy(), grad.numpy(), step.numpy(), self._constants,
            )  # fmt: skip
            return
        weight, momentum, square = block.weight[rows], first[rows], second[rows]
        if self.moves_unread:
            weight.mul_(self.shrink)
        momentum.lerp_(grad, 1.0 - self.beta1)
        squared = grad * grad
        if second.shape[1] == 1:
            squared = squared.mean(dim=1, keepdim=True)
        square.mul_(self.beta2).add_(squared, alpha=1.0 - self.beta2)
        steps = step.double().unsqueeze(1)
        rate = (self.lr / (1.0 - self.beta1**steps)).float()
        correction = torch.sqrt(1.0 - self.beta2**steps).float()
        weight.sub_(rate * momentum / square.sqrt().div_(correction).add_(self.eps))
        block.weight[rows], first[rows], second[rows] = weight, momentum, square

    def catch_up(self, block: Block, rows: Tensor, now: Tensor) -> None:
        """See ``TableRule``: term by term in the first steps, then in closed form."""
        first, second = (block.state[name] for name in self.state_names)
        if has_kernels(rows.device):
            kernels.adam_catch_up(
                block.weight.numpy(), first.numpy(), second.numpy(), block.last.numpy(),
                rows.numpy(), now.numpy(), *self._decay.up_to(int(now.max()) if len(now) else 0),
                self._constants, (FIRST_STEP, self._decay.num_terms),
            )  # fmt: skip
            return
        last = block.last[rows].long()
        for chosen, move in (
            (last == 0, self._unread),
            ((last > 0) & (last < FIRST_STEP), self._term_by_term),
            (last >= FIRST_STEP, self._in_closed_form),
        ):
            part = rows[chosen]
            values = block.weight[part], first[part], second[part]
            move(*values, last[chosen], now[chosen])
            block.weight[part], first[part], second[part] = values
        block.last[rows] = now.int()

    def _unread(
        self, weight: Tensor, _first: Tensor, _second: Tensor, _last: Tensor, now: Tensor
    ) -> None:
        weight.mul_((self.shrink ** now.double().unsqueeze(1)).float())

    def _in_closed_form(
        self, weight: Tensor, first: Tensor, second: Tensor, last: Tensor, now: Tensor
    ) -> None:
        gap = (now - last).double().unsqueeze(1)
        root = second.sqrt()
        left_first, left_root = (self.beta1**gap).float(), (self.beta2 ** (gap / 2)).float()
        before = self._for_ever(root, last)
        after = self._for_ever(root * left_root, now)
        if self.moves_unread:
            shrunk = (self.shrink**gap).float()
            weight.mul_(shrunk)
            before.mul_(shrunk)
        # Of one width with the squares, which may be one value a row.
        weight.sub_(before.sub_(after.mul_(left_first)) * first, alpha=self.lr)
        first.mul_(left_first)
        second.mul_((self.beta2**gap).float())

    def _for_ever(self, root: Tensor, step: Tensor) -> Tensor:
        """Sum of all later moves, for a momentum of 1 and a learning rate of 1; (R, w)."""
        nodes, weights = self._decay.at(step)
        total = weights[:, 0:1] / torch.addcmul(root.new_tensor(self.eps), root, nodes[:, 0:1])
        for n in range(1, NODES):
            total.add_(
                weights[:, n : n + 1]
                / torch.addcmul(root.new_tensor(self.eps), root, nodes[:, n : n + 1])
            )
        return total

    def _term_by_term(
        self, weight: Tensor, first: Tensor, second: Tensor, last: Tensor, now: Tensor
    ) -> None:
        gap = (now - last).clamp(max=self._decay.num_terms)
        # Longest gaps first, so that the rows still moving are always the first ones.
        order = torch.argsort(gap, descending=True)
        moved, momentum, square = weight[order], first[order], second[order]
        step, left = last[order].double().unsqueeze(1), gap[order]
        for j in range(1, int(gap.max() if len(gap) else 0) + 1):
            count = int((left >= j).sum())
            part, step_of = moved[:count], step[:count] + j
            momentum[:count] *= self.beta1
            square[:count] *= self.beta2
            rate = (self.lr / (1.0 - self.beta1**step_of)).float()
            correction = torch.sqrt(1.0 - self.beta2**step_of).float()
            if self.moves_unread:
                part.mul_(self.shrink)
            part.sub_(
                rate * momentum[:count] / (square[:count].sqrt().div_(correction).add_(self.eps))
            )
        rest = (now - last)[order] - left
        if bool(rest.any()):
            beyond = rest.double().unsqueeze(1)
            momentum *= (self.beta1**beyond).float()
            square *= (self.beta2**beyond).float()
            if self.moves_unread:
                moved *= (self.shrink**beyond).float()
        weight[order], first[order], second[order] = moved, momentum, square


class Sgd:
    """torch's SGD without momentum: rows without a gradient stay where they are."""

    state_names: tuple[str, ...] = ()
    squares: str | None = None
    moves_unread = False

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def update(self, block: Block, rows: Tensor, grad: Tensor, step: Tensor) -> None:
        """See ``TableRule``."""
        block.weight.index_add_(0, rows, grad, alpha=-self.lr)

    def catch_up(self, block: Block, rows: Tensor, now: Tensor) -> None:
        """Nothing to do."""


class Adagrad:
    """torch's Adagrad: its sum of squares does not decay, so rows without a gradient stay."""

    state_names = ("sum",)
    squares: str | None = "sum"
    moves_unread = False

    def __init__(self, lr: float, eps: float = 1e-10) -> None:
        self.lr, self.eps = lr, eps

    def update(self, block: Block, rows: Tensor, grad: Tensor, step: Tensor) -> None:
        """See ``TableRule``."""
        squares = grad * grad
        if block.state["sum"].shape[1] == 1:
            squares = squares.mean(dim=1, keepdim=True)
        total = block.state["sum"][rows].add_(squares)
        block.state["sum"][rows] = total
        moved = grad / total.sqrt_().add_(self.eps)
        block.weight.index_add_(0, rows, moved, alpha=-self.lr)

    def catch_up(self, block: Block, rows: Tensor, now: Tensor) -> None:
        """Nothing to do."""


def has_kernels(device: torch.device) -> bool:
    """True where rows are updated by compiled loops instead of torch's operations."""
    return device.type == "cpu"


def rule_of(optimizer: torch.optim.Optimizer) -> TableRule | None:
    """The rule that does what a torch optimizer does, None for one that has none.

    The settings are those of its first group, where FuxiCTR puts a model's own parameters.
    """
    group: Mapping[str, Any] = optimizer.param_groups[0]
    device = group["params"][0].device
    off = ("amsgrad", "maximize", "capturable", "momentum", "lr_decay", "initial_accumulator_value")
    if any(group.get(name) for name in off):
        return None
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        decoupled = type(optimizer) is torch.optim.AdamW or group.get("decoupled_weight_decay")
        if group["weight_decay"] and not decoupled:
            return None
        if group["betas"][0] >= math.sqrt(group["betas"][1]) * (
            1 - group["lr"] * group["weight_decay"]
        ):
            return None
        return Adam(group["lr"], group["betas"], group["eps"], group["weight_decay"], device)
    if group.get("weight_decay"):
        return None
    if type(optimizer) is torch.optim.SGD:
        return Sgd(group["lr"])
    if type(optimizer) is torch.optim.Adagrad:
        return Adagrad(group["lr"], group["eps"])
    return None
