"""A batch of histories and the module that turns it into one pooled vector per sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.base import zero_padding
from fuxictr_loopfm.layers.registry import build_encoder

_LABEL_STATES = 3
# About the scale at which a logged embedding enters the token, so that neither drowns the other.
_LABEL_STD = 0.5


@dataclass
class HistoryBatch:
    """The past events of B samples, left-padded to length L with the newest event last.

    ::

        mask       . . T T T      embedding  0 0 z z z      label  0 0 1 0 2
                   pad   newest                                        not yet known

    Attributes:
        mask: (B, L) bool, True = valid event.
        embedding: (B, L, d) float32 logged teacher embeddings, or None.
        label: (B, L) int64, 0 = padding or not yet known, 1 = negative, 2 = positive, or None.
        log_age: (B, L) float32, log(1 + age in seconds), 0 at padding, or None.
        ids: raw ids of past events per field, each (B, L) int64, 0 at padding.
    """

    mask: Tensor
    embedding: Tensor | None = None
    label: Tensor | None = None
    log_age: Tensor | None = None
    ids: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.mask.shape[0])

    @property
    def batch_size(self) -> int:
        """Number of samples B."""
        return len(self)

    def to(self, device: torch.device | str) -> HistoryBatch:
        """Copy with every tensor on ``device``."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return HistoryBatch(
            mask=self.mask.to(device),
            embedding=move(self.embedding),
            label=move(self.label),
            log_age=move(self.log_age),
            ids={name: ids.to(device) for name, ids in self.ids.items()},
        )


class HistoryEncoder(nn.Module):
    """Sums the parts of each past event into a token and pools the tokens for the target.

    token_j = W z_j + E[label_j] + w log_age_j + V [id embeddings of event j], zero at padding;
    pooled = encoder(tokens, mask, Q query). Paper: arXiv:2605.29280, SeqArch(S_u, query); the sum
    of side information is ours.

    Args:
        embedding_dim: width d of the logged embeddings, None for a history without them.
        use_label: whether past labels join the token.
        use_log_age: whether the events' ages join the token.
        id_dims: embedding width per raw id field of past events; may be empty.
        query_dim: width of the query; not used by encoders that ignore the target.
        encoder: name of the sequence encoder, see ``build_encoder``.
        use_length: add a projection of log(1 + number of events) to the pooled vector (ours; by
            itself the control that asks how much of a gain is activity alone).
        dim: token width.
        num_heads: heads of the attention encoders.
        num_layers: blocks of ``self_attention``.
        dropout: probability inside the attention encoders.
        max_len: longest history.

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
        encoder: str,
        use_length: bool = False,
        dim: int = 32,
        num_heads: int = 4,
        num_layers: int = 1,
        dropout: float = 0.0,
        max_len: int = 50,
    ) -> None:
        super().__init__()
        if embedding_dim is None and not (use_label or use_log_age or id_dims or use_length):
            raise ConfigError(
                "history: expected at least one of embedding, label, log_age, ids and length, "
                "found none."
            )
        self.dim = dim
        self.id_fields = tuple(id_dims)
        self.encoder = build_encoder(
            encoder,
            dim,
            num_heads=num_heads,
            num_layers=num_layers,
            dropout=dropout,
            max_len=max_len,
        )
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
                f"query: encoder {encoder!r} weighs events against the target and needs query "
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
            history: B histories of length L.
            id_embeddings: (B, L, e) embedded ids per field of ``id_dims``.
            query: (B, query_dim) the target; only needed by encoders that use one.

        Returns:
            (B, output_dim) float, finite even where a history is empty.

        Raises:
            ConfigError: the batch lacks an input this encoder was built with.
        """
        tokens = self.tokens(history, id_embeddings or {})
        if self.query_input is not None:
            query = self.query_input(_given(query, "query"))
        pooled: Tensor = self.encoder(tokens, history.mask, query)
        if self.length_input is not None:
            length = history.mask.sum(dim=1, keepdim=True).to(tokens.dtype)
            pooled = pooled + self.length_input(torch.log1p(length))
        return pooled

    def tokens(self, history: HistoryBatch, id_embeddings: Mapping[str, Tensor]) -> Tensor:
        """Sum the parts of each event into its token, (B, L, dim), zero at padding."""
        parts = []
        if self.embedding_input is not None:
            parts.append(self.embedding_input(_given(history.embedding, "embedding")))
        if self.label_input is not None:
            parts.append(self.label_input(_given(history.label, "label")))
        if self.age_input is not None:
            parts.append(self.age_input(_given(history.log_age, "log_age").unsqueeze(-1)))
        if self.id_input is not None:
            given = [_given(id_embeddings.get(name), f"ids[{name}]") for name in self.id_fields]
            parts.append(self.id_input(torch.cat(given, dim=-1)))
        if not parts:  # a history of which only the length is read
            return torch.zeros(*history.mask.shape, self.dim, device=history.mask.device)
        return zero_padding(sum(parts[1:], start=parts[0]), history.mask)


def _given(part: Tensor | None, name: str) -> Tensor:
    if part is None:
        raise ConfigError(
            f"history: the encoder was built with {name}, which the batch does not carry. "
            f"Let the loader deliver it or leave it out of the encoder."
        )
    return part
