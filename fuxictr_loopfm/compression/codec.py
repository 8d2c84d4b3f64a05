"""What every codec of the event store has in common: checks, pad code and description.

A codec is a pure function of ``to_dict()``. In every codec the all-zero code is the pad code and
decodes to exactly 0, so a zeroed store row is an empty event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fuxictr_loopfm.errors import ConfigError, DataError

Array = NDArray[Any]
FloatArray = NDArray[np.float32]


class Codec(ABC):
    """Packs embeddings of width ``dim`` into rows of ``width`` codes of type ``dtype``.

    Attributes:
        kind: the name under which ``build_codec`` knows it.
        dim: embedding width d.
        width: codes per row w.
        dtype: numpy type of one code.
    """

    kind: ClassVar[str]

    def __init__(self, dim: int, width: int, dtype: DTypeLike) -> None:
        if dim < 0 or (dim == 0 and self.kind != "none"):
            raise ConfigError(f"codec {self.kind}: dim: expected 1 or more, found {dim}")
        self.dim = dim
        self.width = width
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def pad_code(self) -> Array:
        """(w,) codes of a padding event; they decode to exactly 0."""
        return np.zeros(self.width, self.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of one packed embedding."""
        return self.width * self.dtype.itemsize

    def fit(self, z: Array) -> Codec:
        """Learn the levels from ``z`` (n, d); codecs with fixed levels only check it.

        Raises:
            DataError: wrong width, no rows, or NaN or infinite values.
        """
        values = self._checked(z)
        if values.shape[0] == 0:
            raise DataError(f"codec {self.kind}: no embeddings to fit on")
        return self._fitted(values)

    def encode(self, z: Array) -> Array:
        """Embeddings (n, d) to codes (n, w); ``f32`` may return ``z`` itself.

        Raises:
            DataError: wrong width, NaN or infinite values, or a codec that is not fitted.
        """
        return self._encode(self._checked(z))

    def decode(self, codes: Array) -> FloatArray:
        """Codes (..., w) to float32 embeddings (..., d); ``f32`` may return ``codes`` itself.

        Raises:
            DataError: wrong width or code type, or a codec that is not fitted.
        """
        codes = np.asarray(codes)
        if codes.ndim < 1 or codes.shape[-1] != self.width or codes.dtype != self.dtype:
            raise DataError(
                f"codec {self.kind}: codes: expected (..., {self.width}) {self.dtype}, "
                f"found {codes.shape} {codes.dtype}; was the store written with another codec?"
            )
        return self._decode(codes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-like description from which ``codec_from_dict`` builds an equal codec."""
        return {"kind": self.kind, "dim": self.dim, "pad_code": self.pad_code.tolist()}

    def _checked(self, z: Array) -> FloatArray:
        z = np.asarray(z)
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise DataError(
                f"codec {self.kind}: embeddings: expected (n, {self.dim}), found {z.shape}"
            )
        values = np.ascontiguousarray(z, dtype=np.float32)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise DataError(
                f"codec {self.kind}: embeddings: expected finite values, "
                f"found {z[row, column]} in row {row}, dimension {column}"
            )
        return values

    def _fitted(self, values: FloatArray) -> Codec:
        return self

    @abstractmethod
    def _encode(self, values: FloatArray) -> Array: ...

    @abstractmethod
    def _decode(self, codes: Array) -> FloatArray: ...
