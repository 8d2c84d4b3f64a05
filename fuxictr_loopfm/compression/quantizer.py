"""Codecs: float embeddings in [-1, 1] to packed codes of the event store and back (numpy only).

Stage 2 of the pipeline, after the autoencoder; the store's manifest keeps ``to_dict()``.

    kind              code            bytes    error for z in [-1, 1]
    f32               z               4 d      0
    f16               z               2 d      2**-11 relative (normal numbers)
    int8              127 levels/side d        1/254
    int4_uniform      16 levels       (d+1)//2 1/16, but 1/8 above 15/16: the top level is 7/8
    int4_kmeans       16 levels       (d+1)//2 learned; zero is one of the levels
    int4_kmeans_pair  256 points      (d+1)//2 learned for each pair of dimensions, with (0, 0)
    none              nothing         0        the store keeps no embedding
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from fuxictr_loopfm.compression.codec import Array, Codec, FloatArray
from fuxictr_loopfm.compression.int4 import Int4KMeansCodec, Int4UniformCodec
from fuxictr_loopfm.compression.pairs import Int4PairKMeansCodec
from fuxictr_loopfm.errors import DataError, StoreError
from fuxictr_loopfm.registry import Registry

CodecT = TypeVar("CodecT", bound=Codec)


class Float32Codec(Codec):
    """No quantisation, as in the paper's public experiments."""

    kind = "f32"
    packed_as = "values"

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, np.float32)

    def _encode(self, values: FloatArray) -> Array:
        return values

    def _decode(self, codes: Array) -> FloatArray:
        return codes


class Float16Codec(Codec):
    """IEEE half precision."""

    kind = "f16"
    packed_as = "values"

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, np.float16)

    def _encode(self, values: FloatArray) -> Array:
        largest = float(np.abs(values).max(initial=0.0))
        if largest > float(np.finfo(np.float16).max):
            raise DataError(
                f"codec f16: embeddings: expected values up to 65504, found {largest}; "
                "use f32 or a compressor with a bounded output"
            )
        return values.astype(np.float16)

    def _decode(self, codes: Array) -> FloatArray:
        return codes.astype(np.float32)


class Int8Codec(Codec):
    """q = clip(round(127 z), -127, 127), decoded as q / 127. Ours."""

    kind = "int8"
    packed_as = "bytes"

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, np.int8)

    def _encode(self, values: FloatArray) -> Array:
        return np.rint(np.clip(values, -1.0, 1.0) * np.float32(127.0)).astype(np.int8)

    def _decode(self, codes: Array) -> FloatArray:
        return np.multiply(codes, np.float32(1.0 / 127.0), dtype=np.float32)


class NoneCodec(Codec):
    """Keeps no embedding: codes have width 0 and decode to width 0."""

    kind = "none"
    least_dim = 0

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 0, np.uint8)

    def _encode(self, values: FloatArray) -> Array:
        return np.zeros((values.shape[0], 0), np.uint8)

    def _decode(self, codes: Array) -> FloatArray:
        return np.zeros(codes.shape, np.float32)


CODECS: Registry[Codec] = Registry("codec")


def register_codec(codec: type[CodecT]) -> type[CodecT]:
    """Make a codec known by its ``kind``; also a decorator of its class.

    Raises:
        ConfigError: see ``Registry.add``.
    """
    CODECS.add(codec)
    return codec


_OURS: tuple[type[Codec], ...] = (
    Float32Codec,
    Float16Codec,
    Int8Codec,
    Int4UniformCodec,
    Int4KMeansCodec,
    Int4PairKMeansCodec,
    NoneCodec,
)
for _codec in _OURS:
    register_codec(_codec)


def build_codec(kind: str, dim: int, options: Mapping[str, Any] | None = None) -> Codec:
    """A codec for embeddings of width ``dim``; the k-means kinds still need ``fit``.

    Args:
        kind: a name of ``CODECS``.
        dim: embedding width d.
        options: the codec's own, by name; what is missing has the codec's default.
    Raises:
        ConfigError: an unknown kind or a width below 1.
    """
    codec: Any = CODECS.require(kind)
    built: Codec = codec(dim, **(options or {}))
    return built


def codec_from_dict(value: Mapping[str, Any]) -> Codec:
    """The codec that ``to_dict`` described.

    Raises:
        StoreError: a missing, unknown or impossible entry.
    """
    kind, dim = value.get("kind"), value.get("dim")
    if not isinstance(kind, str) or kind not in CODECS:
        raise StoreError(f"codec.kind: expected one of {', '.join(CODECS)}, found {kind!r}")
    least = CODECS[kind].least_dim
    if not isinstance(dim, int) or isinstance(dim, bool) or dim < least:
        raise StoreError(f"codec.dim: expected an integer from {least} up, found {dim!r}")
    codec = CODECS[kind].from_dict(value, dim)
    if value.get("pad_code") != codec.pad_code.tolist():
        raise StoreError(
            f"codec.pad_code: expected {codec.width} zeros, found {value.get('pad_code')!r}"
        )
    return codec
