"""What every sequence encoder has in common: one call shape, and masks that cannot leak."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError


class SequenceEncoder(nn.Module):
    """Pools a padded history into one vector per sample.

    Subclasses implement ``forward(tokens, mask, query)`` with tokens (B, L, D) float, mask (B, L)
    bool (True = valid event) and query (B, D) float, and return (B, output_dim) float. Whatever
    stands at padded positions changes neither the output nor a gradient, and a history without
    any valid event gives zeros.

    Attributes:
        output_dim: width of the pooled vector.
        uses_query: False if the encoder ignores the target, so that no query need be built.
    """

    output_dim: int
    uses_query: bool = True


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


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Scaled dot-product attention over valid keys; zero output for a row without valid keys.

    Args:
        query: (B, H, Lq, Dh) float; key and value: (B, H, L, Dh) float.
        mask: (B, L) bool, True = valid key.
        dropout: probability of dropping an attention weight, 0 outside training.

    Returns:
        (B, H, Lq, Dh) float.
    """
    present = mask.any(dim=1)  # (B,)
    # A softmax over no key at all is NaN, so an empty row attends to its padding and is zeroed.
    allowed = mask | ~present.unsqueeze(1)
    pooled = F.scaled_dot_product_attention(
        query, key, value, attn_mask=allowed[:, None, None, :], dropout_p=dropout
    )
    return pooled.masked_fill(~present[:, None, None, None], 0.0)


def recency(mask: Tensor, max_len: int) -> Tensor:
    """Position of each event counted from the newest (0), (B, L) int64; padding gets 0.

    Counting valid events from the right makes the position independent of how much padding a
    batch happens to carry.

    Raises:
        ConfigError: the batch is longer than the position table.
    """
    if mask.shape[1] > max_len:
        raise ConfigError(
            f"max_len: the encoder was built for histories of at most {max_len} events, found a "
            f"batch with {mask.shape[1]}. Build the encoder with the loader's max_len."
        )
    newer = mask.long().flip(1).cumsum(1).flip(1) - 1
    return newer.clamp_min(0).masked_fill(~mask, 0)


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
