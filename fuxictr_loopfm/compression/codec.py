"""What every codec of the event store has in common: checks, pad code and description.

A codec is a pure function of ``to_dict()``. In every codec the all-zero code is the pad code and
decodes to exactly 0, so a zeroed store row is an empty event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fuxictr_loopfm.errors import ConfigError, DataError, StoreError
from fuxictr_loopfm.registry import Option

Array = NDArray[Any]
FloatArray = NDArray[np.float32]


class Codec(ABC):
    """Packs embeddings of width ``dim`` into rows of ``width`` codes of type ``dtype``.

    A subclass's constructor takes ``dim`` and its options. A codec whose ``to_dict`` says more than
    kind and width reads that back in ``from_dict``.

    Attributes:
        kind: its name in configurations and in stores.
        options: its own settings; ``name`` is set by the key ``loopfm_codec_<name>``.
        least_dim: the smallest embedding width it takes.
        packed_as: how codes can be decoded on a device: ``values`` if codes are the embedding,
            ``bytes`` if each is a byte that decodes without the others of its row, so that a table
            of 256 values for each place does it; None if ``decode`` alone can.
        dim: embedding width d.
        width: codes per row w.
        dtype: numpy type of one code; stores keep uint8, int8, float16 and float32.
    """

    kind: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = ()
    least_dim: ClassVar[int] = 1
    packed_as: ClassVar[Literal["values", "bytes"] | None] = None

    def __init__(self, dim: int, width: int, dtype: DTypeLike) -> None:
        if dim < self.least_dim:
            raise ConfigError(
                f"codec {self.kind}: dim: expected {self.least_dim} or more, found {dim}"
            )
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

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], dim: int) -> Codec:
        """The codec that ``to_dict`` described, of embedding width ``dim``.

        Raises:
            StoreError: a missing or impossible entry.
        """
        return cls(dim)  # type: ignore[call-arg]

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


def within_one(value: Any, shape: tuple[int, ...], expected: str) -> FloatArray:
    """Numbers in [-1, 1], read from a codec's description.

    Args:
        value: as the description has it: numbers, or lists of them.
        shape: that they must have.
        expected: the entry and what it should be, for the message.

    Returns:
        ``shape`` float32.

    Raises:
        StoreError: they are not; its message begins with ``expected``.
    """
    try:
        numbers = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{expected}, found {str(value)[:200]}") from error
    if numbers.shape != shape or not (np.abs(numbers) <= 1.0).all():
        raise StoreError(f"{expected}, found {str(value)[:200]}")
    return numbers
