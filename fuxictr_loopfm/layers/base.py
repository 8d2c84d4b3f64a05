"""What every sequence encoder has in common: one call shape, and attention inside windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.spans import Spans
from fuxictr_loopfm.registry import Option

# What the encoders with attention have in common.
HEADS = Option("heads", int, 4, at_least=1)
DROPOUT = Option("dropout", float, 0.0, at_least=0, less_than=1)
# Histories are attended to in groups of about equal length. Narrower steps would pad less, but cost
# more in calls than they save.
_GROUP_WIDTHS = (4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder, and how wide: all that travels from a configuration to the module.

    Attributes:
        kind: a name of ``registry.ENCODERS``.
        dim: width D of tokens and query.
        max_len: longest history.
        options: the encoder's own, by name; what is missing has the encoder's default.
    """

    kind: str
    dim: int = 32
    max_len: int = 50
    options: Mapping[str, Any] = field(default_factory=dict)


class SequenceEncoder(nn.Module):
    """Pools each sample's window of events into one vector.

    Subclasses implement ``forward(tokens, spans, query)`` with tokens (E, D) float, the samples'
    windows over them, and query (B, D) float, and return (B, output_dim) float. An empty window
    gives zeros. Their constructor takes ``dim`` and their options, or they have a ``build`` of
    their own.

    Attributes:
        kind: the encoder's name in configurations.
        options: its own settings; ``name`` is set by the key ``loopfm_encoder_<name>``.
        uses_query: False if the encoder ignores the target, so that no query need be built.
        output_dim: width of the pooled vector.
    """

    kind: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = ()
    uses_query: ClassVar[bool] = True
    output_dim: int

    @classmethod
    def build(cls, spec: EncoderSpec) -> SequenceEncoder:
        """The encoder of a spec."""
        return cls(spec.dim, **spec.options)

    @classmethod
    def problems(cls, spec: EncoderSpec) -> list[str]:
        """What options make together that none is by itself, one message each."""
        return []


def zero_padding(tokens: Tensor, mask: Tensor) -> Tensor:
    """Tokens (B, L, D) with exact zeros where ``mask`` (B, L) is False, even over NaN."""
    return tokens.masked_fill(~mask.unsqueeze(-1), 0.0)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis among valid positions; a row with none becomes all zero.

    Args:
        scores: (..., L) float.
        mask: bool, broadcastable to ``scores``.
    """
    # A finite floor instead of -inf: softmax over a fully padded row stays finite, as do its
    # gradients, and the second fill then makes the row exactly zero.
    floor = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, floor).softmax(dim=-1).masked_fill(~mask, 0.0)


def attend_within(qkv: Tensor, spans: Spans, *, causal: bool, dropout: float) -> Tensor:
    """Scaled dot-product attention of the events of each window to one another.

    Args:
        qkv: (E, 3, H, Dh) float queries, keys and values.
        spans: windows that follow each other, ``is_shared`` False.
        causal: an event sees itself and older events only, otherwise the whole window.
        dropout: probability of dropping an attention weight, 0 outside training.

    Returns:
        (E, H, Dh) float.
    """
    parts, places = [qkv[:0, 0]], [spans.start[:0]]
    for start, length, width in _length_groups(spans):
        step = torch.arange(width, device=start.device)
        valid = step < length.unsqueeze(1)  # (G, W), padded behind the newest event
        rows = torch.where(valid, start.unsqueeze(1) + step, 0).flatten()
        gathered = qkv.index_select(0, rows).unflatten(0, (-1, width))
        query, key, value = gathered.permute(2, 0, 3, 1, 4)  # each (G, H, W, Dh)
        # Behind a window's end nothing is older, so the causal rule alone hides the padding.
        mask = None if causal else valid[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=causal)
        kept = valid.flatten().nonzero().squeeze(1)
        parts.append(mixed.transpose(1, 2).flatten(0, 1).index_select(0, kept))
        places.append(rows[kept])
    return torch.zeros_like(qkv[:, 0]).index_copy(0, torch.cat(places), torch.cat(parts))


def _length_groups(spans: Spans) -> Iterator[tuple[Tensor, Tensor, int]]:
    """(start, length, width) of the windows whose lengths are at most ``width``, by group."""
    narrower = 0
    for width in (*(w for w in _GROUP_WIDTHS if w < spans.longest), spans.longest):
        chosen = ((spans.length > narrower) & (spans.length <= width)).nonzero().squeeze(1)
        narrower = width
        if len(chosen):
            yield spans.start[chosen], spans.length[chosen], width


def check_longest(spans: Spans, max_len: int) -> None:
    """Refuse windows longer than a position table.

    Raises:
        ConfigError: there is one.
    """
    if spans.longest > max_len:
        raise ConfigError(
            f"max_len: the encoder was built for histories of at most {max_len} events, found a "
            f"batch with {spans.longest}. Build the encoder with the loader's max_len."
        )


def head_problems(spec: EncoderSpec) -> list[str]:
    """Heads that do not divide the width."""
    heads = spec.options["heads"]
    if heads < 1 or spec.dim % heads == 0:
        return []
    return [
        f"loopfm_encoder_dim: expected a multiple of loopfm_encoder_heads={heads}, found {spec.dim}"
    ]


def head_width(dim: int, num_heads: int) -> int:
    """Width of one attention head.

    Raises:
        ConfigError: the heads do not divide ``dim``.
    """
    if num_heads < 1 or dim % num_heads:
        raise ConfigError(
            f"num_heads: expected a positive divisor of the encoder's width {dim}, "
            f"found {num_heads}."
        )
    return dim // num_heads
