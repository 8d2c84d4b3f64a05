"""From raw values to FuxiCTR ids: each distinct value is looked up once per chunk of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from fuxictr_loopfm.data.ragged import Padding, padded_rows

# FuxiCTR's reserved vocabulary entries.
PAD_TOKEN = "__PAD__"
OOV_TOKEN = "__OOV__"
Vocabulary = Mapping[Any, int]


def ids_of(tokens: pa.Array, vocabulary: Vocabulary, na_value: Any = None) -> np.ndarray:
    """Look tokens up as FuxiCTR's tokenizer does.

    Args:
        tokens: (n,) text or numbers without nulls.
        vocabulary: token to id, with FuxiCTR's reserved entries.
        na_value: a token that stands for padding; None if there is none.

    Returns:
        (n,) int64; unknown tokens get the id of ``__OOV__``.
    """
    if len(tokens) == 0:
        return np.zeros(0, dtype=np.int64)
    encoded = tokens.dictionary_encode()
    words = encoded.dictionary.to_pylist()
    unknown = vocabulary[OOV_TOKEN]
    table = np.fromiter((vocabulary.get(word, unknown) for word in words), np.int64, len(words))
    if na_value is not None and na_value in words:
        table[words.index(na_value)] = vocabulary[PAD_TOKEN]
    return table[encoded.indices.to_numpy()]


def padded_ids(
    lists: pa.Array, vocabulary: Vocabulary, na_value: Any, max_len: int, padding: Padding
) -> pa.Array:
    """Look up lists of tokens and pad them as FuxiCTR's tokenizer does.

    FuxiCTR cuts on the side it pads: ``pre`` keeps the last ``max_len`` tokens, ``post`` the first.

    Args:
        lists: (n,) lists of text.

    Returns:
        (n,) lists of ``max_len`` int32.
    """
    offsets = lists.offsets.to_numpy().astype(np.int64)
    start, stop = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
    codes = ids_of(lists.flatten(), vocabulary, na_value)
    padded_codes = np.concatenate([[vocabulary[PAD_TOKEN]], codes]).astype(np.int32)
    end = np.minimum(stop, start + max_len) if padding == "post" else stop
    rows = padded_rows(padded_codes, end, end - start, max_len, padding)
    edges = np.arange(len(rows) + 1, dtype=np.int32) * max_len
    return pa.ListArray.from_arrays(edges, rows.reshape(-1))


def visible_counts(
    tokens: np.ndarray, end: np.ndarray, length: np.ndarray
) -> tuple[pa.DictionaryArray, dict[str, int]]:
    """How often each token stands in the windows of some events.

    That is the count FuxiCTR takes from histories written out per sample, without writing them out.

    Args:
        tokens: (M,) UTF-8 bytes of all events' sequences.
        end, length: (S,) windows of the events that may be seen.

    Returns:
        The tokens as a dictionary array, and the count of each token in at least one window.
    """
    encoded = pa.array(tokens, type=pa.binary()).cast(pa.string()).dictionary_encode()
    if len(tokens) == 0:
        return encoded, {}
    stop = end.astype(np.int64)
    start = stop - length.astype(np.int64)
    edges = np.bincount(start, minlength=len(tokens) + 1).astype(np.int64)
    edges -= np.bincount(stop, minlength=len(tokens) + 1)
    uses = np.cumsum(edges)[:-1]
    counts = np.bincount(encoded.indices.to_numpy(), weights=uses)
    words = encoded.dictionary.to_pylist()
    return encoded, {word: int(count) for word, count in zip(words, counts, strict=True) if count}
