"""Sequence encoders: event tokens (E, D) and windows to one vector per sample. Torch only."""

from fuxictr_loopfm.layers.base import EncoderSpec, SequenceEncoder
from fuxictr_loopfm.layers.batch import HistoryBatch, PackedEmbedding, PaddedHistory
from fuxictr_loopfm.layers.dmin import DMIN
from fuxictr_loopfm.layers.history import HistoryEncoder
from fuxictr_loopfm.layers.pooling import MeanPooling, SumPooling
from fuxictr_loopfm.layers.registry import ENCODERS, build_encoder, register_encoder
from fuxictr_loopfm.layers.spans import Spans
from fuxictr_loopfm.layers.target_attention import DINAttention
from fuxictr_loopfm.layers.transformer import SelfAttention

__all__ = [
    "DMIN",
    "ENCODERS",
    "DINAttention",
    "EncoderSpec",
    "HistoryBatch",
    "HistoryEncoder",
    "MeanPooling",
    "PackedEmbedding",
    "PaddedHistory",
    "SelfAttention",
    "SequenceEncoder",
    "Spans",
    "SumPooling",
    "build_encoder",
    "register_encoder",
]
