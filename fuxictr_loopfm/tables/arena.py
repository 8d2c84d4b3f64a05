"""Tables of one width in one block of memory, with the optimizer's state of every row beside it.

::

    table a  [a0 a1 a2 ...]      block   [a0 a1 a2 ... b0 b1 ...]     (N, w) weights
    table b  [b0 b1 ...]         state   the same shape, per name of the rule's state
                                 last    (N,) the step after which a row is as the dense optimizer
                                         would have it; smaller than now: it lags behind

A table stays a parameter of its model: its values are a view of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fuxictr_loopfm.tables import kernels
from fuxictr_loopfm.tables.decay import FIRST_STEP
from fuxictr_loopfm.tables.rules import Block, TableRule

_FLUSH_ROWS = 1 << 17


@dataclass(frozen=True)
class Lookup:
    """Rows that a forward pass has read, and the gradient that came back for them.

    Attributes:
        rows: (U,) int64 distinct rows of the block.
        inverse: (M,) int64 place in ``rows`` of each row that was read.
        grad: (M, w) float32.
    """

    rows: Tensor
    inverse: Tensor
    grad: Tensor

    def summed(self) -> Tensor:
        """(U, w) gradient of each distinct row."""
        if self.grad.device.type == "cpu":
            return torch.from_numpy(
                kernels.summed(self.inverse.numpy(), self.grad.numpy(), len(self.rows))
            )
        total = self.grad.new_zeros(len(self.rows), self.grad.shape[1])
        return total.index_add_(0, self.inverse, self.grad)


class Arena:
    """Tables of one width, and their rows' optimizer state.

    Args:
        tables: embedding layers with float32 weights (n, w) of one width on one device.
        rule: how rows are updated.
        is_lazy: rows that are not read do not move at all, as TorchRec's optimizers have it.
        is_row_wise: keep one square a row, the mean over its width: less memory, another optimizer.
    """

    def __init__(
        self,
        tables: Sequence[nn.Embedding],
        rule: TableRule,
        *,
        is_lazy: bool = False,
        is_row_wise: bool = False,
    ) -> None:
        self.rule, self.is_lazy = rule, is_lazy
        self.tables = tuple(tables)
        sizes = [table.num_embeddings for table in tables]
        device = tables[0].weight.device
        self.start = [sum(sizes[:n]) for n in range(len(sizes) + 1)]
        self._bounds = torch.tensor(self.start[1:], device=device)
        weight = torch.cat([table.weight.detach() for table in tables])
        state = {name: torch.zeros_like(weight) for name in rule.state_names}
        if is_row_wise and rule.squares is not None:
            state[rule.squares] = weight.new_zeros(len(weight), 1)
        self.block = Block(
            weight, state, torch.zeros(len(weight), dtype=torch.int32, device=device)
        )
        self._mark = np.full(len(weight) if device.type == "cpu" else 0, -1, np.int32)
        # Steps in which a table had a gradient; torch counts, and skips, parameter by parameter.
        self.steps = [0] * len(sizes)
        pads = [
            begin + table.padding_idx
            for begin, table in zip(self.start, tables, strict=False)
            if table.padding_idx is not None
        ]
        self._is_pad = torch.zeros(len(weight), dtype=torch.bool, device=device)
        self._is_pad[pads] = True
        for begin, table in zip(self.start, tables, strict=False):
            table.weight.data = weight[begin : begin + table.num_embeddings]

    def now(self, rows: Tensor) -> Tensor:
        """(R,) int64 steps that the tables of the rows (R,) have taken."""
        if len(set(self.steps)) == 1:
            return torch.full_like(rows, self.steps[0])
        steps = torch.tensor(self.steps, device=rows.device)
        return steps[torch.searchsorted(self._bounds, rows, right=True)]

    def distinct(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Distinct rows (U,) of ``index`` (M,) int64, and the place of each among them (M,)."""
        if index.device.type == "cpu":
            rows, inverse = kernels.distinct(index.numpy(), self._mark)
            return torch.from_numpy(rows), torch.from_numpy(inverse)
        return torch.unique(index, return_inverse=True)

    def catch_up(self, rows: Tensor) -> None:
        """Bring distinct rows (U,) to where the dense optimizer would have them."""
        if not self.is_lazy:
            self.rule.catch_up(self.block, rows, self.now(rows))

    def gradients(self, lookups: Sequence[Lookup]) -> tuple[Tensor, Tensor]:
        """Distinct rows (U,) of a step's look-ups, and the gradient (U, w) of each."""
        if len(lookups) == 1:
            rows, grad = lookups[0].rows, lookups[0].summed()
        else:
            every = torch.cat([each.rows for each in lookups])
            rows, inverse = self.distinct(every)
            grad = Lookup(rows, inverse, torch.cat([each.summed() for each in lookups])).summed()
        grad.masked_fill_(self._is_pad[rows].unsqueeze(1), 0.0)
        return rows, grad

    def step(self, rows: Tensor, grad: Tensor, used: Sequence[int]) -> None:
        """Update rows that were caught up.

        Args:
            rows: (U,) distinct rows.
            grad: (U, w) their gradients.
            used: numbers of the tables that had a gradient in this step.
        """
        for number in used:
            self.steps[number] += 1
        now = self.now(rows)
        self.rule.update(self.block, rows, grad, now)
        self.block.last[rows] = now.int()
        if any(self.steps[number] == FIRST_STEP for number in used):
            self.flush()

    def flush(self) -> None:
        """Bring every row to where the dense optimizer would have it."""
        if self.is_lazy:
            return
        for begin in range(0, len(self.block.last), _FLUSH_ROWS):
            last = self.block.last[begin : begin + _FLUSH_ROWS]
            if self.rule.moves_unread:
                rows = torch.arange(begin, begin + len(last), device=last.device)
            else:
                rows = begin + last.nonzero().squeeze(1)
            self.catch_up(rows)

    def reset(self) -> None:
        """Forget momenta and steps, as a fresh optimizer; flush before."""
        for values in self.block.state.values():
            values.zero_()
        self.block.last.zero_()
        self.steps = [0] * len(self.tables)

    def release(self) -> None:
        """Give each table memory of its own again."""
        for table in self.tables:
            table.weight.data = table.weight.data.clone()

    def bytes_per_row(self) -> float:
        """Weights, state, the step last seen, and what finds distinct rows and padding."""
        mark = torch.from_numpy(self._mark)
        parts: list[Any] = [self.block.weight, *self.block.state.values(), self.block.last]
        parts += [mark, self._is_pad]
        return sum(part.numel() * part.element_size() for part in parts) / len(self.block.last)
