"""The module that turns a batch of histories into one pooled vector per sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.base import EncoderSpec
from fuxictr_loopfm.layers.batch import HistoryBatch, PackedEmbedding
from fuxictr_loopfm.layers.pooling import SumPooling
from fuxictr_loopfm.layers.registry import build_encoder

_LABEL_STATES = 3
# About the scale at which a logged embedding enters the token, so that neither drowns the other.
_LABEL_STD = 0.5


class HistoryEncoder(nn.Module):
    """Sums the parts of each past event into a token and pools the tokens for the target.

    token_j = W z_j + E[label_j] + w log_age_j + V [id embeddings of event j];
    pooled = encoder(tokens, windows, Q query). Paper: arXiv:2605.29280, SeqArch(S_u, query); the
    sum of side information is ours.

    Args:
        embedding_dim: width d of the logged embeddings, None for a history without them.
        use_label: whether past labels join the token.
        use_log_age: whether the events' ages join the token.
        id_dims: embedding width per raw id field of past events; may be empty.
        query_dim: width of the query; not used by encoders that ignore the target.
        encoder: the sequence encoder; its ``dim`` is the token's width.
        use_length: add a projection of log(1 + number of events) to the pooled vector (ours; by
            itself the control that asks how much of a gain is activity alone).

    Attributes:
        output_dim: width of the pooled vector.

    Raises:
        ConfigError: no input is left, an unknown encoder, or widths that do not fit.
    """

    def __init__(
        self,
        *,
        embedding_dim: int | None,
        use_label: bool,
        use_log_age: bool,
        id_dims: Mapping[str, int],
        query_dim: int,
        encoder: EncoderSpec,
        use_length: bool = False,
    ) -> None:
        super().__init__()
        if embedding_dim is None and not (use_label or use_log_age or id_dims or use_length):
            raise ConfigError(
                "history: expected at least one of embedding, label, log_age, ids and length, "
                "found none."
            )
        self.dim = dim = encoder.dim
        self.id_fields = tuple(id_dims)
        self.encoder = build_encoder(encoder)
        self.output_dim = self.encoder.output_dim
        self.embedding_input = None if embedding_dim is None else nn.Linear(embedding_dim, dim)
        self.label_input = nn.Embedding(_LABEL_STATES, dim, padding_idx=0) if use_label else None
        if self.label_input is not None:
            nn.init.normal_(self.label_input.weight[1:], std=_LABEL_STD)
        self.age_input = nn.Linear(1, dim) if use_log_age else None
        self.length_input = nn.Linear(1, self.output_dim) if use_length else None
        self.id_input = nn.Linear(sum(id_dims.values()), dim, bias=False) if id_dims else None
        if self.encoder.uses_query and query_dim < 1:
            raise ConfigError(
                f"query: encoder {encoder.kind!r} weighs events against the target and needs query "
                f"fields, found none. Name item fields, or use the encoder mean or sum."
            )
        self.query_input = nn.Linear(query_dim, dim) if self.encoder.uses_query else None

    def forward(
        self,
        history: HistoryBatch,
        id_embeddings: Mapping[str, Tensor] | None = None,
        query: Tensor | None = None,
    ) -> Tensor:
        """Pool a batch of histories.

        Args:
            history: B histories over E event rows.
            id_embeddings: (E, e) embedded ids per field of ``id_dims``.
            query: (B, query_dim) the target; only needed by encoders that use one.

        Returns:
            (B, output_dim) float, finite even where a history is empty.

        Raises:
            ConfigError: the batch lacks an input this encoder was built with.
        """
        spans = history.spans
        if isinstance(self.encoder, SumPooling):
            pooled = self._pool_before_projection(self.encoder, history, id_embeddings or {})
        else:
            if self.query_input is not None:
                query = self.query_input(_given(query, "query"))
            pooled = self.encoder(self.tokens(history, id_embeddings or {}), spans, query)
        if self.length_input is not None:
            length = spans.length.unsqueeze(1).to(pooled.dtype)
            pooled = pooled + self.length_input(torch.log1p(length))
        return pooled

    def tokens(self, history: HistoryBatch, id_embeddings: Mapping[str, Tensor]) -> Tensor:
        """Sum the parts of each event into its token, (E, dim)."""
        parts = [layer(values) for layer, values in self._parts(history, id_embeddings)]
        if self.label_input is not None:
            parts.append(self.label_input(_given(history.label, "label")))
        if not parts:  # a history of which only the length is read
            return torch.zeros(history.spans.events, self.dim, device=history.spans.length.device)
        return sum(parts[1:], start=parts[0])

    def _parts(
        self, history: HistoryBatch, id_embeddings: Mapping[str, Tensor]
    ) -> Iterator[tuple[nn.Linear, Tensor]]:
        """The linear inputs of a token, each with its layer."""
        if self.embedding_input is not None:
            embedding = _given(history.embedding, "embedding")
            packed = isinstance(embedding, PackedEmbedding)
            yield self.embedding_input, embedding.unpack() if packed else embedding
        if self.age_input is not None:
            yield self.age_input, _given(history.log_age, "log_age").unsqueeze(-1)
        if self.id_input is not None:
            given = [_given(id_embeddings.get(name), f"ids[{name}]") for name in self.id_fields]
            yield self.id_input, torch.cat(given, dim=-1)

    def _pool_before_projection(
        self, pooling: SumPooling, history: HistoryBatch, id_embeddings: Mapping[str, Tensor]
    ) -> Tensor:
        """The pooled tokens of a linear pooling, without making the tokens.

        Pooling what is logged needs no gradient, and the projections then work on B rows in place
        of E.
        """
        spans = history.spans
        one = pooling.constant(spans)  # (B, 1)
        pooled = one.new_zeros(len(spans), self.dim)
        for layer, values in self._parts(history, id_embeddings):
            pooled = pooled + F.linear(pooling(values, spans), layer.weight)
            if layer.bias is not None:
                pooled = torch.addcmul(pooled, one, layer.bias)
        if self.label_input is not None:
            state = F.one_hot(_given(history.label, "label"), _LABEL_STATES).to(pooled.dtype)
            # The first state, not yet known, has a vector of zeros that is never trained.
            pooled = pooled + pooling(state[:, 1:], spans) @ self.label_input.weight[1:]
        return pooled


def _given(part: Any, name: str) -> Any:
    if part is None:
        raise ConfigError(
            f"history: the encoder was built with {name}, which the batch does not carry. "
            f"Let the loader deliver it or leave it out of the encoder."
        )
    return part
