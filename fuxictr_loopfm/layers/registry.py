"""Sequence encoders by the names used in configurations."""

from __future__ import annotations

from typing import TypeVar

from fuxictr_loopfm.layers.base import EncoderSpec, SequenceEncoder
from fuxictr_loopfm.layers.dmin import DMIN
from fuxictr_loopfm.layers.pooling import MeanPooling, SumPooling
from fuxictr_loopfm.layers.target_attention import DINAttention
from fuxictr_loopfm.layers.transformer import SelfAttention
from fuxictr_loopfm.registry import Registry

EncoderT = TypeVar("EncoderT", bound=SequenceEncoder)

# loopfm_encoder_dim is the token's width, of every encoder.
ENCODERS: Registry[SequenceEncoder] = Registry("encoder", reserved=("dim",))


def register_encoder(encoder: type[EncoderT]) -> type[EncoderT]:
    """Make an encoder known by its ``kind``; also a decorator of its class.

    Raises:
        ConfigError: see ``Registry.add``.
    """
    ENCODERS.add(encoder)
    return encoder


for _encoder in (MeanPooling, SumPooling, DINAttention, DMIN, SelfAttention):
    register_encoder(_encoder)


def build_encoder(spec: EncoderSpec) -> SequenceEncoder:
    """The encoder of a spec, freshly initialised.

    Raises:
        ConfigError: an unknown kind, or heads that do not divide the width.
    """
    return ENCODERS.require(spec.kind).build(spec)
