"""TaobaoAd_x1 (the CSVs that BARS publishes) as an approximate stream.

The files have no time column. ``train.csv`` is said to be in time order and ``test.csv`` is the
last day, so a row's time is its number: 7 chunks of equal size of ``train.csv`` stand for the days,
and impressions shown at one moment follow each other. Ids were coded anew by the publisher and
``0`` stands for missing. Histories come with each row; a history that repeats within a block of
rows is stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from _common import HISTORY_LENGTH, Sequences, step
from _taobao_files import Vocabulary, csv_batches, present, price_bucket
from _x1 import Published, differences, x1_files

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.columns_io import check_labels

PUBLISHED = {
    "train.csv": Published("eaabfc8629f23519b04593e26c7522fc", 21_929_911),
    "test.csv": Published("f5ae6197e52385496d46e2867c1c8da1", 3_099_515),
}
_TOKENS = 1 << 24


class _History:
    """One history column: tokens go to disk as codes, bounds stay in memory."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._codes = folder / f"{name}-codes"
        self._values = folder / name
        self._vocabulary = Vocabulary()
        self._written = 0
        self._end: list[np.ndarray] = []
        self._length: list[np.ndarray] = []
        self._codes.touch()

    def add(self, texts: pa.DictionaryArray, where: str) -> None:
        """Append the histories of a block of rows, ``a^b^c`` each."""
        distinct = pc.split_pattern(texts.dictionary.cast(pa.string()), "^")
        length = pc.list_value_length(distinct).to_numpy().astype(np.int64)
        tokens = distinct.flatten()
        # An empty text splits into one empty token.
        empty = pc.equal(texts.dictionary, "").to_numpy(zero_copy_only=False).astype(bool)
        tokens = tokens.filter(pa.array(~np.repeat(empty, length)))
        length[empty] = 0
        if length.max(initial=0) > HISTORY_LENGTH:
            raise DataError(
                f"{where}: {self.name}: expected at most {HISTORY_LENGTH} tokens, found "
                f"{length.max()}"
            )
        end = self._written + np.cumsum(length)
        rows = texts.indices.to_numpy()
        self._length.append(length[rows].astype(np.uint16))
        self._end.append(np.where(length > 0, end, 0)[rows])
        with self._codes.open("ab") as file:
            self._vocabulary.encode(tokens).tofile(file)
        self._written += len(tokens)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``(values, end, length)``; the values are a mapped file."""
        end, length = np.concatenate(self._end), np.concatenate(self._length)
        self._end, self._length = [], []
        table = np.char.encode(np.array(self._vocabulary.names or ["-"], np.str_), "utf-8")
        if not self._written:
            return np.empty(0, table.dtype), end, length
        codes = np.memmap(self._codes, np.int32, mode="r")
        with self._values.open("wb") as file:
            for start in range(0, len(codes), _TOKENS):
                table[codes[start : start + _TOKENS]].tofile(file)
        del codes
        self._codes.unlink()
        return np.memmap(self._values, table.dtype, mode="r"), end, length


def read_x1(
    source: Path, columns: Sequence[str], histories: Sequence[str], folder: Path, periods: int
) -> tuple[pd.DataFrame, Sequences, list[str]]:
    """``(frame, sequences, what differs from the published files)``.

    Args:
        source: folder of ``train.csv`` and ``test.csv``.
        columns: feature columns, all categorical; ``price`` is put in buckets.
        histories: history columns.
        folder: holds the values of the sequences and must outlive them.
        periods: chunks of ``train.csv`` plus one.
    """
    files = x1_files(source, list(PUBLISHED), ("clk", *columns, *histories))
    with step("read train.csv and test.csv"):
        labels, codes, names, kept = _read(files, columns, histories, folder)
    with step("compare them with the published files"):
        differing = differences(files, [len(label) for label in labels], PUBLISHED)
    train, test = labels
    period = np.full(len(train) + len(test), periods, np.int32)
    period[: len(train)] = np.arange(len(train)) * (periods - 1) // max(len(train), 1) + 1
    frame: dict[str, object] = {
        "timestamp": np.arange(len(period), dtype=np.int64),
        "period": period,
        "clk": np.concatenate(labels),
    }
    for name in columns:
        texts = pd.Series(names[name], dtype="str")
        if name == "price":
            texts = price_bucket(texts, f"{source}: price")
        table, categories = pd.factorize(texts)
        rows = np.concatenate(codes.pop(name))
        frame[name] = pd.Categorical.from_codes(table.astype(np.int32)[rows], categories=categories)
    with step("write histories"):
        sequences = {history.name: history.arrays() for history in kept}
    return pd.DataFrame(frame, copy=False), sequences, differing


def _read(
    files: Sequence[Path], columns: Sequence[str], histories: Sequence[str], folder: Path
) -> tuple[list[np.ndarray], dict[str, list[np.ndarray]], dict[str, list[str]], list[_History]]:
    """Labels by file, codes and names by column, and the histories."""
    text = pa.dictionary(pa.int32(), pa.string())
    types = {"clk": pa.int8(), **dict.fromkeys((*columns, *histories), text)}
    vocabularies = {name: Vocabulary() for name in columns}
    codes: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    kept = [_History(name, folder) for name in histories]
    labels = []
    for path in files:
        label = [np.empty(0, np.int8)]
        for batch in csv_batches(path, types):
            label.append(present(batch, "clk", path).to_numpy())
            check_labels(label[-1], f"{path}: clk")
            for name in columns:
                codes[name].append(vocabularies[name].encode(present(batch, name, path)))
            for history in kept:
                history.add(_filled(batch[history.name]), str(path))
        if len(label) == 1:
            raise DataError(f"{path}: has no rows")
        labels.append(np.concatenate(label))
    return labels, codes, {name: vocabularies[name].names for name in columns}, kept


def _filled(texts: pa.DictionaryArray) -> pa.DictionaryArray:
    """An empty history is no missing value."""
    return texts.fill_null("") if texts.null_count else texts
