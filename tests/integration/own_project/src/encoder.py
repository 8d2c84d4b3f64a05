"""A history encoder of the project's own."""

import torch

from fuxictr_loopfm import SequenceEncoder, register_encoder


@register_encoder
class Newest(SequenceEncoder):
    """The newest event of each history, zeros for an empty one."""

    kind = "newest"
    uses_query = False

    def __init__(self, dim):
        super().__init__()
        self.output_dim = dim

    def forward(self, tokens, spans, query=None):
        """Tokens (E, D) of B histories to (B, D)."""
        with_empty = torch.cat([tokens, tokens.new_zeros(1, tokens.shape[1])])
        newest = spans.start + spans.length - 1
        return with_empty[torch.where(spans.length > 0, newest, len(tokens))]
