"""Sequence encoders by the names used in configurations."""

from __future__ import annotations

from collections.abc import Callable

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.base import SequenceEncoder
from fuxictr_loopfm.layers.dmin import DMIN
from fuxictr_loopfm.layers.pooling import MeanPooling, SumPooling
from fuxictr_loopfm.layers.target_attention import DINAttention
from fuxictr_loopfm.layers.transformer import SelfAttention

ENCODERS: dict[str, Callable[[int, int, int, float, int], SequenceEncoder]] = {
    "mean": lambda dim, *_: MeanPooling(dim),
    "sum": lambda dim, *_: SumPooling(dim),
    "din": lambda dim, *_: DINAttention(dim),
    "dmin": lambda dim, heads, _, dropout, max_len: DMIN(dim, heads, dropout, max_len),
    "self_attention": SelfAttention,
}


def build_encoder(
    name: str,
    dim: int,
    *,
    num_heads: int = 4,
    num_layers: int = 1,
    dropout: float = 0.0,
    max_len: int = 50,
) -> SequenceEncoder:
    """Build the sequence encoder ``name`` for tokens and queries of width ``dim``.

    Args:
        name: a key of ``ENCODERS``: mean, sum, din, dmin or self_attention.
        dim: token width D.
        num_heads: heads of dmin and self_attention.
        num_layers: blocks of self_attention.
        dropout: probability inside dmin and self_attention.
        max_len: longest history dmin and self_attention accept.

    Raises:
        ConfigError: an unknown name, or heads that do not divide ``dim``.
    """
    if name not in ENCODERS:
        raise ConfigError(
            f"encoder: expected one of {', '.join(sorted(ENCODERS))}, found {name!r}."
        )
    return ENCODERS[name](dim, num_heads, num_layers, dropout, max_len)
