"""A codec with an option that its stores remember."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fuxictr_loopfm.compression.codec import Array, Codec, FloatArray
from fuxictr_loopfm.compression.quantizer import register_codec
from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.registry import Option


@register_codec
class EvenSteps(Codec):
    """Rounds [-1, 1] to ``steps`` steps on either side of 0."""

    kind = "even_steps"
    options = (Option("steps", int, 7, at_least=1, less_than=128),)

    def __init__(self, dim: int, steps: int = 7) -> None:
        super().__init__(dim, dim, np.int8)
        self.steps = steps

    def _encode(self, values: FloatArray) -> Array:
        return np.rint(np.clip(values, -1.0, 1.0) * self.steps).astype(np.int8)

    def _decode(self, codes: Array) -> FloatArray:
        return codes.astype(np.float32) / np.float32(self.steps)

    def to_dict(self) -> dict[str, Any]:
        """As in the base class, with ``steps``."""
        return {**super().to_dict(), "steps": self.steps}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], dim: int) -> EvenSteps:
        """As in the base class, with ``steps``."""
        steps = value.get("steps")
        if not isinstance(steps, int) or steps < 1:
            raise StoreError(f"codec.steps: expected a number from 1 up, found {steps!r}")
        return cls(dim, steps)
