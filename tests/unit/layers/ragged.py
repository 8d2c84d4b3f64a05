"""Padded histories, which are easy to write down in a test, as windows of event rows."""

from __future__ import annotations

from torch import Tensor

from fuxictr_loopfm.layers.spans import Spans


def windows(mask: Tensor) -> Spans:
    """The windows that ``mask`` (B, L) marks, one after the other."""
    return Spans.of_lengths(mask.sum(dim=1))
