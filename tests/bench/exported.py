"""Samples of a log as files: the parquet that our loader reads, and an export for FuxiCTR's.

The export is written by the code behind ``loopfm export``. It asks an experiment's workspace for
columns, store and pointers; ``Workspace`` here answers with the bench's log instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuxictr.features import FeatureMap

from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.data.columns import ColumnPlan
from fuxictr_loopfm.files.atomic import write_json
from fuxictr_loopfm.host.history_fields import SEQUENCE_TYPE
from fuxictr_loopfm.runs.export import export_histories
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.store.schema import StoreManifest
from tests.bench.logs import MAX_LEN, EventLog

HISTORY, LABEL, DATASET = "loopfm_history", "click", "bench"
FIELDS = tuple(f"field_{number:02d}" for number in range(20))
# From the size of a weekday to that of a catalogue, 29,000 in all.
VOCABULARY = tuple(int(size) for size in np.geomspace(8, 10_000, len(FIELDS)))


def feature_entries() -> dict[str, dict[str, Any]]:
    """The 20 categorical fields and the history, as in a feature map."""
    fields = {
        name: {"source": "", "type": "categorical", "vocab_size": size}
        for name, size in zip(FIELDS, VOCABULARY, strict=True)
    }
    return {**fields, HISTORY: {"source": "", "type": SEQUENCE_TYPE}}


def feature_map(*, with_history: bool = True) -> FeatureMap:
    """FuxiCTR's object with the same entries."""
    result = FeatureMap(DATASET, "unused")
    result.features.update(feature_entries())
    if not with_history:
        del result.features[HISTORY]
    result.labels = [LABEL]
    result.num_fields = result.get_num_fields()
    result.set_column_index()
    return result


def sample_columns(events: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Made-up encoded columns of the samples with those event_ids."""
    random = np.random.default_rng([seed, 2])
    columns = {
        name: random.integers(1, size, len(events)).astype(np.int32)
        for name, size in zip(FIELDS, VOCABULARY, strict=True)
    }
    columns[LABEL] = random.integers(0, 2, len(events)).astype(np.float32)
    return {"event_id": events.astype(np.int64), **columns}


def write_samples(path: Path, events: np.ndarray, seed: int) -> Path:
    """The parquet file of a split."""
    pq.write_table(pa.table(sample_columns(events, seed)), path)
    return path


@dataclass
class Workspace:
    """What ``export_histories`` asks of an experiment, for ``rows`` events in the log's middle."""

    log: EventLog
    event_store: EventStore
    all_pointers: Pointers
    folder: Path
    rows: int
    seed: int

    def __post_init__(self) -> None:
        start = (len(self.log) - self.rows) // 2
        self._window = (start, start + self.rows)
        self.keys = LoopFMKeys(history="embedding", max_len=MAX_LEN, encoder="mean")
        history = {"name": HISTORY, "type": SEQUENCE_TYPE}
        self.params = {"model_id": "bench", "dataset_id": DATASET, "feature_cols": [history]}
        plan = ColumnPlan((), (history,), (), (HISTORY,))
        self.experiment = SimpleNamespace(columns=plan)
        self.prepared = SimpleNamespace(
            spec=SimpleNamespace(user="user", sequences=(), known_columns=frozenset({"user"})),
            timestamp=self.log.time,
        )
        self.view = SimpleNamespace(
            feature_map_path=self.folder / "view.json",
            rows=lambda _: slice(*self._window),
            column=self._at,
        )
        entries = [{name: entry} for name, entry in feature_entries().items()]
        described = {"dataset_id": DATASET, "labels": [LABEL], "features": entries}
        write_json(self.view.feature_map_path, described)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return sample_columns(np.arange(*self._window), self.seed)

    def _at(self, name: str) -> np.ndarray:
        """A column by event_id, of which the export reads its window only."""
        column = np.zeros(self._window[1], self._columns[name].dtype)
        column[self._window[0] :] = self._columns[name]
        return column

    def store(self, _key: str) -> EventStore:
        """The store of the log."""
        return self.event_store

    def store_manifest(self, _key: str) -> StoreManifest:
        """What is in it."""
        return self.event_store.manifest

    def pointers(self, _store: EventStore, _key: str, _split: str) -> Pointers:
        """Pointers of the window."""
        window, every = slice(*self._window), self.all_pointers
        return Pointers(
            every.end[window], every.length[window], every.spec, every.store_fingerprint
        )


def export(workspace: Workspace) -> tuple[FeatureMap, Path]:
    """Materialise the histories; FuxiCTR's feature map and npz of the result."""
    out = workspace.folder / "exported"
    export_histories(workspace, out, ["train"])  # type: ignore[arg-type]
    result = FeatureMap(DATASET, str(out))
    result.load(str(out / "feature_map.json"), workspace.params)
    return result, out / "train.npz"
