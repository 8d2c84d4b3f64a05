"""The 4-bit codecs: 16 levels, fixed or learned, two codes a byte (numpy only)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.compression.codec import Array, Codec, FloatArray, within_one
from fuxictr_loopfm.compression.lloyd import fit_centres
from fuxictr_loopfm.errors import DataError, StoreError

NUM_CENTRES = 16
_NUM_BINS = 1 << 16


class Int4Codec(Codec):
    """Two 4-bit codes a byte, even dimensions in the low half; an odd last half stays 0."""

    packed_as = "bytes"

    def __init__(self, dim: int) -> None:
        super().__init__(dim, (dim + 1) // 2, np.uint8)
        self._table: Array | None = None

    @abstractmethod
    def _levels(self) -> FloatArray:
        """(16,) decoded value of each code; level 0 is exactly 0."""

    @abstractmethod
    def _quantize(self, values: FloatArray) -> NDArray[np.uint8]:
        """Values (n, d) to codes 0..15 (n, d)."""

    def _encode(self, values: FloatArray) -> Array:
        codes = self._quantize(values)
        if self.dim % 2:
            codes = np.pad(codes, ((0, 0), (0, 1)))
        # A pair read as one little-endian number is low + 256 * high; shifting by 4 joins them.
        pairs = np.ascontiguousarray(codes).view("<u2")
        packed: Array = (pairs | (pairs >> 4)).astype(np.uint8)
        return packed

    def _decode(self, codes: Array) -> FloatArray:
        if self._table is None:
            self._table = _decode_table(self._levels(), pairs=self.width % 2 == 0)
        keys = np.ascontiguousarray(codes)
        if self.width % 2 == 0:
            keys = keys.view("<u2")
        decoded = np.take(self._table, keys, mode="clip").view(np.float32)
        if self.dim % 2:
            decoded = np.ascontiguousarray(decoded[..., : self.dim])
        return decoded


def _decode_table(levels: FloatArray, *, pairs: bool) -> Array:
    """Values behind one packed byte (or two), as one item each so that a lookup is one copy."""
    byte = np.arange(256)
    table = np.stack([levels[byte & 15], levels[byte >> 4]], axis=-1)  # (256, 2)
    if not pairs:
        return np.ascontiguousarray(table).view(np.complex64).reshape(-1)
    word = np.arange(1 << 16)
    table = np.concatenate([table[word & 255], table[word >> 8]], axis=-1)  # (65536, 4)
    return np.ascontiguousarray(table).view(np.complex128).reshape(-1)


class Int4UniformCodec(Int4Codec):
    """q = clip(round(8 z), -8, 7), decoded as q / 8, stored in two's complement.

    Paper: arXiv:2605.29280, Sec. on compression (uniform INT4).
    """

    kind = "int4_uniform"

    def _levels(self) -> FloatArray:
        code = np.arange(NUM_CENTRES)
        return ((code + 8) % 16 - 8).astype(np.float32) / np.float32(8.0)

    def _quantize(self, values: FloatArray) -> NDArray[np.uint8]:
        levels = np.rint(np.clip(values, -1.0, 0.875) * np.float32(8.0)).astype(np.int8)
        return (levels & 15).astype(np.uint8)


class Int4KMeansCodec(Int4Codec):
    """16 learned levels shared by all dimensions, one pinned at exactly 0 (it is code 0).

    The paper names the method; initialisation and the pinned level are ours. A value within one
    of 65,536 bins of the border between two levels may take either of them.
    """

    kind = "int4_kmeans"

    def __init__(self, dim: int, centres: FloatArray | None = None) -> None:
        super().__init__(dim)
        self._centres: FloatArray | None = None
        self._bins: NDArray[np.uint8] | None = None
        if centres is not None:
            self._set_centres(centres)

    def _set_centres(self, centres: FloatArray) -> None:
        self._centres = centres
        self._table = None
        middle = np.linspace(-1.0, 1.0, _NUM_BINS)
        order = np.argsort(centres, kind="stable")
        ranked = centres[order].astype(np.float64)
        nearest = np.searchsorted((ranked[1:] + ranked[:-1]) / 2.0, middle)
        self._bins = order[nearest].astype(np.uint8)

    def _fitted(self, values: FloatArray) -> Int4KMeansCodec:
        self._set_centres(fit_centres(values, NUM_CENTRES))
        return self

    def _levels(self) -> FloatArray:
        if self._centres is None:
            raise DataError("codec int4_kmeans: no centres yet; call fit first")
        return self._centres

    def _quantize(self, values: FloatArray) -> NDArray[np.uint8]:
        if self._bins is None:
            raise DataError("codec int4_kmeans: no centres yet; call fit first")
        scale = np.float32((_NUM_BINS - 1) / 2)
        index = np.rint((np.clip(values, -1.0, 1.0) + np.float32(1.0)) * scale).astype(np.uint16)
        return np.take(self._bins, index, mode="clip")

    def to_dict(self) -> dict[str, Any]:
        """As in the base class, with the 16 ``centres`` by code."""
        return {**super().to_dict(), "centres": [float(value) for value in self._levels()]}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], dim: int) -> Int4KMeansCodec:
        """As in the base class, with its ``centres``."""
        numbers = value.get("centres")
        expected = f"codec.centres: expected {NUM_CENTRES} numbers in [-1, 1], the first of them 0"
        centres = within_one(numbers, (NUM_CENTRES,), expected)
        if centres[0] != 0.0:
            raise StoreError(f"{expected}, found {centres[0]}")
        return cls(dim, centres)
