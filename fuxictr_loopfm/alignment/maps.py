"""Maps from the newest checkpoint's space back to the first's, fitted on rows that both embedded.

Formulas: Schoenemann 1966 (orthogonal Procrustes) and ridge regression, both centred. Linear maps
undo a turn of the space, not a change of what it holds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from fuxictr_loopfm.alignment.alignment import Alignment
from fuxictr_loopfm.registry import Option


class _Map(Alignment):
    """z to (z - mean_newest) M + mean_first, limited to [-1, 1]."""

    needs_anchors = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._map: tuple[Tensor, Tensor, Tensor] | None = None

    @abstractmethod
    def _solved(self, first: Tensor, newest: Tensor) -> Tensor:
        """(d, d) M for centred (n, d) float64 embeddings."""

    def fit(self, first: Tensor, newest: Tensor) -> None:
        """As in the base class; in float64."""
        first, newest = first.double(), newest.double()
        centre, target = newest.mean(dim=0), first.mean(dim=0)
        self._map = (centre, self._solved(first - target, newest - centre), target)

    def apply(self, z: Tensor) -> Tensor:
        """As in the base class; embeddings of the first checkpoint stay as they are."""
        if self._map is None:
            return z
        centre, matrix, target = (part.to(z.device) for part in self._map)
        aligned = (z.double() - centre) @ matrix + target
        return aligned.clamp(-1.0, 1.0).to(z.dtype)

    def state(self) -> dict[str, Any]:
        """The map."""
        return {} if self._map is None else {"map": list(self._map)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As in the base class."""
        self._map = tuple(state["map"]) if "map" in state else None


class Procrustes(_Map):
    """The rotation or reflection that brings the anchors nearest to where they were.

    It keeps all distances, so it cannot harm what the newest checkpoint knows.
    """

    kind = "procrustes"

    def _solved(self, first: Tensor, newest: Tensor) -> Tensor:
        u, _, v = torch.linalg.svd(newest.T @ first)
        return u @ v


class Ridge(_Map):
    """The linear map of least squares, with a penalty that holds its weights down."""

    kind = "ridge"
    options: ClassVar[tuple[Option, ...]] = (Option("rho", float, 1e-3, at_least=0),)
    rho: float

    def _solved(self, first: Tensor, newest: Tensor) -> Tensor:
        rows, width = newest.shape
        # Relative to the anchors' own variance, so that it means the same at every scale.
        scale = newest.square().sum() / width
        penalty = self.rho * scale.clamp(min=1e-12 * rows) * torch.eye(width, dtype=newest.dtype)
        return torch.linalg.solve(newest.T @ newest + penalty, newest.T @ first)
