"""Padded behaviour sequences without their padding: layers then work on behaviours alone.

Most places of a batch of histories are padding, and a layer costs the same at each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fuxictr_loopfm.layers.spans import Spans


@dataclass(frozen=True)
class Packing:
    """Where the N behaviours of B padded sequences lie.

    ::

        mask    x x . .        packed rows   a0 a1 | b0 b1 b2
                . x x x

    Padding may lie on either side of a sequence, or between behaviours.

    Attributes:
        mask: (B, L) bool, True at behaviours.
    """

    mask: Tensor

    @cached_property
    def rows(self) -> Tensor:
        """(N,) int64 place of each behaviour among the B * L places, ascending."""
        return self.mask.flatten().nonzero().squeeze(1)

    @cached_property
    def spans(self) -> Spans:
        """Each sample's window over the packed rows."""
        return Spans.of_lengths(self.mask.sum(dim=1))

    def pack(self, padded: Tensor) -> Tensor:
        """Values (B, L, ...) of all places to those of behaviours, (N, ...)."""
        return padded.flatten(0, 1).index_select(0, self.rows)

    def unpack(self, packed: Tensor) -> Tensor:
        """Values (N, ...) of behaviours to those of all places, (B, L, ...), 0 at padding."""
        places = packed.new_zeros(self.mask.numel(), *packed.shape[1:])
        return places.index_copy(0, self.rows, packed).unflatten(0, self.mask.shape)
