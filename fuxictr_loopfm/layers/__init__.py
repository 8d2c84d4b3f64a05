"""Sequence encoders: (B, L, D) tokens and a mask to one vector per sample. Torch only."""

from fuxictr_loopfm.layers.base import SequenceEncoder
from fuxictr_loopfm.layers.dmin import DMIN
from fuxictr_loopfm.layers.history import HistoryBatch, HistoryEncoder
from fuxictr_loopfm.layers.pooling import MeanPooling, SumPooling
from fuxictr_loopfm.layers.registry import ENCODERS, build_encoder
from fuxictr_loopfm.layers.target_attention import DINAttention
from fuxictr_loopfm.layers.transformer import SelfAttention

__all__ = [
    "DMIN",
    "ENCODERS",
    "DINAttention",
    "HistoryBatch",
    "HistoryEncoder",
    "MeanPooling",
    "SelfAttention",
    "SequenceEncoder",
    "SumPooling",
    "build_encoder",
]
