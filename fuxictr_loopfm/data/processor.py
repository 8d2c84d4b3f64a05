"""FuxiCTR's feature processor, run in this process: same ids, no Ray, no pickle.

The host fits vocabularies and scalers; reading its tables, transforming and writing are replaced:
chunk by chunk, one look-up per distinct value.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fuxictr.preprocess import FeatureProcessor

from fuxictr_loopfm.data.artifact import FEATURE_MAP_FILE
from fuxictr_loopfm.data.columns import ColumnDict, ColumnPlan
from fuxictr_loopfm.data.transform import OOV_TOKEN, PAD_TOKEN, ids_of, padded_ids
from fuxictr_loopfm.errors import DataError

CHUNK_ROWS = 1 << 20

_logger = logging.getLogger(__name__)


class RaggedTokens(NamedTuple):
    """What fitting needs of a prepared sequence.

    Attributes:
        counts: how often each token is visible to the samples the view is fitted on.
        max_len: longest window.
    """

    counts: dict[str, int]
    max_len: int


class LocalProcessor(FeatureProcessor):
    """FuxiCTR's feature processor without Ray, pickles and per-value Python.

    Args:
        plan: the columns.
        dataset_id: FuxiCTR's data set id.
        folder: where ``feature_map.json`` and ``feature_vocab.json`` go.
        ragged: prepared sequences by name; they are in no table.
    """

    feature_cols: list[ColumnDict]

    def __init__(
        self,
        plan: ColumnPlan,
        dataset_id: str,
        folder: Path,
        ragged: Mapping[str, RaggedTokens] | None = None,
    ) -> None:
        super().__init__(
            feature_cols=list(plan.encoded), label_col=list(plan.labels), dataset_id=dataset_id
        )
        self.data_dir = self.feature_map.data_dir = str(folder)
        self.json_file = str(folder / FEATURE_MAP_FILE)
        self.vocab_file = str(folder / "feature_vocab.json")
        self.ragged = dict(ragged or {})

    def table_columns(self) -> list[ColumnDict]:
        """Feature columns that are read from tables."""
        return [column for column in self.feature_cols if column["name"] not in self.ragged]

    @contextmanager
    def _only(self, columns: list[ColumnDict]) -> Iterator[None]:
        every = self.feature_cols
        self.feature_cols = columns
        try:
            yield
        finally:
            self.feature_cols = every

    def preprocess(self, ddf: pl.LazyFrame) -> pl.LazyFrame:
        """Fill missing values and select the active table columns, as FuxiCTR does."""
        with self._only(self.table_columns()):
            return super().preprocess(ddf)

    def _collect_statistics(
        self, train_ddf: pl.LazyFrame, meta_ddf: pl.LazyFrame | None = None
    ) -> dict[str, Any]:
        self._require_finite(train_ddf)
        stats: dict[str, Any] = {}
        # All columns at once, as FuxiCTR asks for them, map the file once for each: 15 GiB of
        # address space for TaobaoAd, against 5 in this way, in the same time.
        for column in self.table_columns():
            with self._only([column]):
                stats |= super()._collect_statistics(train_ddf, meta_ddf)
        for name, tokens in self.ragged.items():
            stats[name] = {"value_counts": tokens.counts, "max_len": tokens.max_len}
        return stats

    def _require_finite(self, rows: pl.LazyFrame) -> None:
        """Look for NaN before a scaler meets it: a sum is finite only if every value is."""
        names = [c["name"] for c in self.table_columns() if c["type"] == "numeric"]
        sums = rows.select(pl.col(names).sum()).collect() if names else pl.DataFrame()
        for name in names:
            if not np.isfinite(sums[name].item()):
                self._require_numbers(name, rows.select(name).collect()[name].to_numpy())

    def _require_numbers(self, name: str, numbers: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad):
            raise DataError(
                f"{self.feature_map.dataset_id}: column {name}: expected finite numbers, found "
                f"{numbers[bad[0]]} in row {bad[0]} ({len(bad)} such rows). Correct the file, or "
                "describe the column as categorical."
            )

    def fit_meta_col(self, col: ColumnDict, stats_dict: dict[str, Any] | None) -> None:
        """Register a meta column; refuses one without values, where FuxiCTR would crash."""
        if col.get("remap", True):
            stats_dict = self._usable(col, stats_dict or {}, 1, "")
        super().fit_meta_col(col, stats_dict)

    def fit_categorical_col(
        self,
        col: ColumnDict,
        col_series: dict[str, Any] | None = None,
        min_categr_count: int = 1,
        num_buckets: int = 10,
    ) -> None:
        """Fit a vocabulary; refuses an empty one, where FuxiCTR would crash."""
        threshold = col.get("min_categr_count", min_categr_count)
        stats = self._usable(col, col_series or {}, threshold, col.get("fill_na", ""))
        super().fit_categorical_col(col, stats, min_categr_count, num_buckets)

    def fit_sequence_col(
        self, col: ColumnDict, stats_dict: dict[str, Any] | None = None, min_categr_count: int = 1
    ) -> None:
        """Fit a sequence's vocabulary; refuses an empty one, where FuxiCTR would crash."""
        threshold = col.get("min_categr_count", min_categr_count)
        stats = self._usable(col, stats_dict or {}, threshold, col.get("fill_na", ""))
        super().fit_sequence_col(col, stats, min_categr_count)

    def _usable(
        self, col: ColumnDict, stats: dict[str, Any], threshold: int, missing: Any
    ) -> dict[str, Any]:
        counts = stats.get("value_counts", {})
        if any(count >= threshold and token != missing for token, count in counts.items()):
            return stats
        if "share_embedding" in col:
            # Nothing to add to the shared vocabulary: a token it knows already says so to FuxiCTR.
            shared = self.vocabulary(col["share_embedding"])
            known = next(token for token in shared if token not in (PAD_TOKEN, OOV_TOKEN))
            return {"max_len": 1, **stats, "value_counts": {known: threshold}}
        raise DataError(
            f"{self.feature_map.dataset_id}: column {col['name']}: expected a value that occurs at "
            f"least min_categr_count={threshold} times in the training rows, found none. "
            "Lower min_categr_count or leave the column out."
        )

    def save_pickle(self, pickle_file: str) -> None:
        """Write nothing: the feature map and the vocabulary are all that is needed later."""

    def vocabulary(self, name: str) -> dict[Any, int]:
        """The fitted vocabulary of a categorical, sequence or remapped meta column."""
        vocab: dict[Any, int] = self.processor_dict[name + "::tokenizer"].vocab
        return vocab

    def encode(self, frame: pl.DataFrame) -> pa.Table:
        """Transform preprocessed rows; ids int64, lists int32, numbers float32, labels as read."""
        columns: dict[str, pa.Array] = {}
        for column in self.table_columns():
            columns[column["name"]] = self._encode_column(column, frame[column["name"]])
        for label in self.feature_map.labels:
            columns[label] = frame[label].to_arrow()
        return pa.table(columns)

    def _encode_column(self, column: ColumnDict, values: pl.Series) -> pa.Array:
        name, kind = column["name"], column["type"]
        if kind == "numeric":
            numbers = values.to_numpy()
            self._require_numbers(name, numbers)
            normalizer = self.processor_dict.get(name + "::normalizer")
            numbers = numbers if normalizer is None else normalizer.transform(numbers)
            return pa.array(numbers.astype(np.float32))
        if kind == "sequence":
            tokenizer = self.processor_dict[name + "::tokenizer"]
            lists = values.str.split(column.get("splitter", "^")).to_arrow()
            na_value = column.get("fill_na", "")
            return padded_ids(
                lists, tokenizer.vocab, na_value, tokenizer.max_len, tokenizer.padding
            )
        if name + "::tokenizer" not in self.processor_dict:
            return pa.array(values.cast(pl.Int64).to_numpy())
        return pa.array(ids_of(values.to_arrow(), self.vocabulary(name)))

    def write(self, rows: pl.LazyFrame, path: Path) -> None:
        """Encode preprocessed rows into one parquet file, a chunk at a time, in order.

        Raises:
            DataError: there are no rows.
            KeyboardInterrupt: polars was interrupted; it takes SIGINT for itself and ends its
                chunks as if they were all.
        """
        _logger.info("Encode %s", path.name)
        expected = rows.select(pl.len()).collect().item()
        if not expected:
            raise DataError(f"{path.name}: expected at least one row, found none")
        writer, count = None, 0
        try:
            for frame in rows.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True):
                table = self.encode(frame)
                count += len(frame)
                writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        if count != expected:
            raise KeyboardInterrupt


@contextmanager
def data_errors(source: str) -> Iterator[None]:
    """Turn what polars says about unreadable or unexpected values into a DataError."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        # What follows the first line is the query, or advice on polars' own options.
        found = str(error).partition("\n")[0]
        raise DataError(
            f"{source}: cannot be encoded as configured: expected values as feature_cols and "
            f"label_col describe them, found: {found}. Correct the files, or the columns' dtype."
        ) from error
