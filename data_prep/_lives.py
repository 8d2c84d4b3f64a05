"""Users' lives from the histories of their rows: each row's history is a prefix of the longest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from _common import EventList

from fuxictr_loopfm.errors import DataError

SEPARATOR = "^"
_ROWS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Lives:
    """The longest known history of each of U users, one after the other.

    Attributes:
        user: (T,) int64 codes, ascending.
        position: (T,) int64 from 0 within each user.
        token: (T,) text.
        start: (U,) int64 first row of each user.
        length: (U,) int64.
    """

    user: np.ndarray
    position: np.ndarray
    token: np.ndarray
    start: np.ndarray
    length: np.ndarray

    @property
    def events(self) -> EventList:
        """One event per token, its position as its time."""
        return EventList(self.user, self.position, self.token)

    def at(self, user: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Tokens (N,) at ``position`` of each user's life; both (N,) int64."""
        tokens: np.ndarray = self.token[self.start[user] + position]
        return tokens


def history_lengths(histories: pd.Series) -> np.ndarray:
    """Number of tokens (N,) int64 of ``a^b^c`` texts; blank is none."""
    texts = _text_array(histories)
    separators = pc.count_substring(texts, SEPARATOR).to_numpy().astype(np.int64)
    filled: np.ndarray = pc.not_equal(texts, "").to_numpy(zero_copy_only=False)
    return np.where(filled, separators + 1, 0)


def lives(histories: pd.Series, user: np.ndarray, where: str) -> Lives:
    """The longest history of each user, after checking that all others are its beginning.

    Args:
        histories: N texts ``a^b^c``, oldest first.
        user: (N,) int64 codes 0 to U-1, each at least once.
        where: file and column, for messages.

    Raises:
        DataError: a user's histories contradict each other; names the first such row.
    """
    length = history_lengths(histories)
    order = np.lexsort((length, user))
    longest = order[np.append(np.flatnonzero(np.diff(user[order])), len(order) - 1)]
    counts = length[longest]
    start = np.cumsum(counts) - counts
    tokens = _tokens(_text_array(histories.iloc[longest]))
    life = Lives(
        user=np.repeat(user[longest], counts),
        position=_within(counts),
        token=tokens.to_numpy(zero_copy_only=False),
        start=start,
        length=counts,
    )
    _check_prefixes(histories, length, user, life, tokens, where)
    return life


def _check_prefixes(
    histories: pd.Series,
    length: np.ndarray,
    user: np.ndarray,
    life: Lives,
    tokens: pa.Array,
    where: str,
) -> None:
    vocabulary = tokens.unique()
    known = pc.index_in(tokens, vocabulary).to_numpy()
    for first in range(0, len(histories), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        counts = length[rows]
        own = _tokens(_text_array(histories.iloc[rows]))
        found = pc.index_in(own, vocabulary).fill_null(-1).to_numpy()
        expected = known[np.repeat(life.start[user[rows]], counts) + _within(counts)]
        wrong = found != expected
        if wrong.any():
            row = first + int(np.repeat(np.arange(len(counts)), counts)[np.argmax(wrong)])
            raise DataError(
                f"{where}: expected a user's histories to grow at their end only, found "
                f"{histories.iloc[row][:80]!r} in data row {row + 1}, which is not the beginning "
                "of the same user's longest history"
            )


def _text_array(texts: pd.Series) -> pa.Array:
    return pa.array(texts, type=pa.large_string(), from_pandas=True)


def _tokens(texts: pa.Array) -> pa.Array:
    """All tokens of all texts, one after the other; a blank text has none."""
    filled = texts.filter(pc.not_equal(texts, ""))
    tokens = pc.list_flatten(pc.split_pattern(filled, SEPARATOR))
    return tokens.combine_chunks() if isinstance(tokens, pa.ChunkedArray) else tokens


def _within(counts: np.ndarray) -> np.ndarray:
    """0, 1, .. count-1 for each count, one after the other."""
    total = int(counts.sum())
    within: np.ndarray = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    return within
