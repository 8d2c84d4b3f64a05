"""Every alignment by name; a new one is a class with its options and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from fuxictr_loopfm.alignment.alignment import Alignment
from fuxictr_loopfm.alignment.continued import (
    Anchored,
    BackCompatible,
    Ema,
    FixedDecoder,
    FrozenCompressor,
)
from fuxictr_loopfm.alignment.maps import Procrustes, Ridge
from fuxictr_loopfm.registry import Registry

AlignmentT = TypeVar("AlignmentT", bound=Alignment)

ALIGNMENTS: Registry[Alignment] = Registry("alignment")


def register_alignment(alignment: type[AlignmentT]) -> type[AlignmentT]:
    """Make an alignment known by its ``kind``; also a decorator of its class.

    Raises:
        ConfigError: see ``Registry.add``.
    """
    ALIGNMENTS.add(alignment)
    return alignment


for _alignment in (
    *(Alignment, FrozenCompressor, Procrustes, Ridge, Anchored, Ema, BackCompatible, FixedDecoder),
):
    register_alignment(_alignment)


def build_alignment(kind: str, options: Mapping[str, Any]) -> Alignment:
    """An alignment that has seen no checkpoint yet.

    Args:
        kind: its name.
        options: its own, by name.
    Raises:
        ConfigError: an unknown kind.
    """
    return ALIGNMENTS.require(kind)(**options)
