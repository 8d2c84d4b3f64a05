"""``loopfm export``: materialised histories for FuxiCTR's own npz and parquet loaders.

Everything else in the package keeps one embedding per event; here each sample gets its own copy of
its history, flattened to one ``embedding`` feature of width L * d. It costs L * d * 4 bytes a
sample, so it is for tools that cannot read a store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuxictr_loopfm.data.columns import with_histories
from fuxictr_loopfm.data.ragged import padded_rows
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.atomic import atomic_path, write_json
from fuxictr_loopfm.pipeline.histories import history_features, history_field, history_source
from fuxictr_loopfm.pipeline.workspace import Workspace

ROWS_PER_BATCH = 8192


def export_histories(workspace: Workspace, out: Path, splits: Sequence[str]) -> list[Path]:
    """Write ``<split>.npz``, ``<split>.parquet`` and ``feature_map.json`` into ``out``.

    The npz holds every feature and label of the view, ``<history>`` (S, L * d) float32, newest
    event last and zeros at padding, and ``<history>_len`` (S,) int32.

    Raises:
        ConfigError: the experiment's history holds no embedding.
    """
    if "embedding" not in workspace.keys.columns:
        raise ConfigError(
            f"{workspace.params['model_id']}: loopfm_history: expected a history with the column "
            f"embedding, found {workspace.keys.history}. Give the expid of another method."
        )
    written = [path for split in splits for path in _export_split(workspace, out, split)]
    feature_map = json.loads(workspace.view.feature_map_path.read_text(encoding="utf-8"))
    widths = {
        name: _width(workspace, name, entity)
        for name, entity in history_features(workspace).items()
    }
    features = {name: spec for entry in feature_map["features"] for name, spec in entry.items()}
    features = with_histories(features, workspace.experiment.columns)
    for name, width in widths.items():
        features[name] = {"source": "", "type": "embedding", "pretrain_dim": width}
    feature_map["features"] = [{name: spec} for name, spec in features.items()]
    feature_map["num_fields"] = sum(spec["type"] != "meta" for spec in features.values())
    write_json(out / "feature_map.json", feature_map)
    return [*written, out / "feature_map.json"]


def _width(workspace: Workspace, name: str, entity: str) -> int:
    field = history_field(workspace, name, workspace.store_manifest(entity).dim)
    return workspace.keys.max_len * field.embedding_dim


def _export_split(workspace: Workspace, out: Path, split: str) -> list[Path]:
    rows = workspace.view.rows(split)
    columns = _columns(workspace, rows)
    for name, entity in history_features(workspace).items():
        store = workspace.store(entity)
        field = history_field(workspace, name, store.manifest.dim)
        source = history_source(workspace, field, store, entity, split, delivery="padded")
        length = source.pointers.length.astype(np.int32)
        columns[name] = _materialised(source, rows, workspace.keys.max_len, field.embedding_dim)
        columns[f"{name}_len"] = np.minimum(length, workspace.keys.max_len)
    paths = [out / f"{split}.npz", out / f"{split}.parquet"]
    with atomic_path(paths[0]) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, allow_pickle=False, **columns)
    with atomic_path(paths[1]) as temporary:
        pq.write_table(
            pa.table({name: _arrow(values) for name, values in columns.items()}), temporary
        )
    return paths


def _columns(workspace: Workspace, rows: slice) -> dict[str, np.ndarray]:
    """Encoded columns and labels of a split's S events: (S,), sequences (S, max_len)."""
    feature_map = json.loads(workspace.view.feature_map_path.read_text(encoding="utf-8"))
    histories = history_features(workspace)
    prepared = {sequence.name for sequence in workspace.prepared.spec.sequences}
    view, columns = workspace.view, {}
    for name in (n for entry in feature_map["features"] for n in entry if n not in histories):
        if name in prepared:
            tokens = view.sequence(name)
            codes = np.concatenate([np.zeros(1, np.int32), tokens.codes])
            window = (tokens.end[rows], tokens.length[rows], tokens.max_len)
            columns[name] = padded_rows(codes, *window, view.padding(name))
        else:
            columns[name] = view.column(name)[rows]
    for label in feature_map["labels"]:
        columns[label] = view.column(label)[rows]
    return columns


def _materialised(source: Any, rows: slice, max_len: int, dim: int) -> np.ndarray:
    """(S, L * d) float32, batch by batch."""
    num_samples = rows.stop - rows.start
    result = np.zeros((num_samples, max_len, dim), dtype=np.float32)
    for first in range(rows.start, rows.stop, ROWS_PER_BATCH):
        events = np.arange(first, min(first + ROWS_PER_BATCH, rows.stop))
        embedding = source.batch(events).embedding.numpy()
        result[events - rows.start, max_len - embedding.shape[1] :] = embedding
    return result.reshape(num_samples, max_len * dim)


def _arrow(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
