"""How far Adam moves a row that gets no gradient any more, in closed form.

Without a gradient Adam still moves a row, because its momentum decays instead of vanishing. A row
with the state (m, u = sqrt(v)) after step s is moved in step s + j by::

    learning rate * c_j * m / (d_j * u + eps)

    c_j = beta1**j / (1 - beta1**(s + j))          d_j = beta2**(j / 2) / sqrt(1 - beta2**(s + j))

(torch's Adam with its bias correction). For one s these are a few hundred numbers, equal for all
rows, and what is wanted is their sum over j for many u. That sum is an integral of the function
``d -> 1 / (d * u + eps)`` over a discrete measure with the weights c_j at the places d_j; it is
taken by Gauss's rule with three nodes, found by the Lanczos recursion (Golub and Welsch 1969). From
step 128 on its relative error is below 1e-7 for every u and eps, shown by a test.

A gap of k steps is the difference of two infinite sums: what the state after step s would do for
ever, less what its remainder after step s + k would do for ever. So a table over s is enough.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

NODES = 3
# Before this step the bias corrections change too fast for three nodes.
FIRST_STEP = 128
_BLOCK_STEPS = 1024
# Terms beyond this share of the first add nothing to a float32.
_NEGLIGIBLE = 1e-10


class DecayTable:
    """Nodes and weights of the infinite sums, by step, computed in blocks as they are needed.

    Args:
        beta1, beta2: Adam's.
        shrink: factor on the weights themselves in every step, 1 - lr * weight_decay for AdamW.
        device: where the tensors live.

    Attributes:
        num_terms: J, terms after which a sum is cut off.
    """

    def __init__(
        self, beta1: float, beta2: float, shrink: float = 1.0, device: torch.device | str = "cpu"
    ) -> None:
        self.beta1, self.beta2, self.shrink = beta1, beta2, shrink
        ratio = beta1 / math.sqrt(beta2) / shrink
        if not 0.0 < ratio < 1.0:
            raise ValueError(f"beta1 / sqrt(beta2) / shrink: expected below 1, found {ratio}")
        self.num_terms = math.ceil(math.log(_NEGLIGIBLE) / math.log(ratio))
        self._device = torch.device(device)
        self._on_device: tuple[Tensor, Tensor] | None = None
        self._nodes = np.empty((0, NODES))
        self._weights = np.empty((0, NODES))

    def at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes and weights, each (R, 3) float32, for the steps (R,) int64 after which sums begin.

        Steps before ``FIRST_STEP`` are allowed and inexact.
        """
        every = self.up_to(int(steps.max()) if len(steps) else 0)
        if self._on_device is None or len(self._on_device[0]) != len(every[0]):
            nodes, weights = (torch.from_numpy(each).float().to(self._device) for each in every)
            self._on_device = nodes, weights
        return self._on_device[0][steps], self._on_device[1][steps]

    def up_to(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights, each (S, 3) float64, of the steps from 0 to ``step`` or later."""
        self._reach(step)
        return self._nodes, self._weights

    def _reach(self, step: int) -> None:
        while len(self._nodes) <= step:
            first = len(self._nodes)
            nodes, weights = gauss_rule(
                np.arange(first, first + _BLOCK_STEPS),
                self.beta1, self.beta2, self.shrink, self.num_terms,
            )  # fmt: skip
            self._nodes = np.concatenate([self._nodes, nodes])
            self._weights = np.concatenate([self._weights, weights])


def gauss_rule(
    steps: np.ndarray, beta1: float, beta2: float, shrink: float, num_terms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gauss's rule for the sums that begin after each of ``steps`` (S,).

    Returns:
        Nodes and weights, each (S, 3) float64: ``sum_q weights / (nodes * u + eps)`` stands for
        ``sum_j c_j / (d_j * u + eps)``.
    """
    j = np.arange(1, num_terms + 1, dtype=np.float64)
    at = steps[:, None] + j
    weight = (beta1 / shrink) ** j / (1.0 - beta1**at)
    place = beta2 ** (j / 2) / np.sqrt(1.0 - beta2**at)
    total = weight.sum(axis=1)
    vector = np.sqrt(weight / total[:, None])
    previous = np.zeros_like(vector)
    beta = np.zeros(len(steps))
    matrix = np.zeros((len(steps), NODES, NODES))
    for n in range(NODES):
        product = place * vector - beta[:, None] * previous
        alpha = (product * vector).sum(axis=1)
        product -= alpha[:, None] * vector
        matrix[:, n, n] = alpha
        if n + 1 < NODES:
            beta = np.sqrt((product * product).sum(axis=1))
            matrix[:, n, n + 1] = matrix[:, n + 1, n] = beta
            previous, vector = vector, product / beta[:, None]
    nodes, vectors = np.linalg.eigh(matrix)
    return nodes, total[:, None] * vectors[:, 0, :] ** 2
