"""Prepared events in FuxiCTR ids, for one view: what ``build_dataset`` does, without Ray.

Its folder is named by the fingerprint of prepared data, columns and settings. FuxiCTR would reuse
any folder that has a ``feature_map.json`` without a word.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from fuxictr_loopfm.data.artifact import (
    FEATURE_MAP_FILE,
    encoded_folder,
    publishing,
    reusable_manifest,
    show_newest,
)
from fuxictr_loopfm.data.columns import DEFAULT_GROUP, EVENT_ID, ColumnDict, ColumnPlan
from fuxictr_loopfm.data.pretrained import pretrained_identity
from fuxictr_loopfm.data.processor import LocalProcessor, RaggedTokens, data_errors
from fuxictr_loopfm.data.ragged import EncodedSequence, save_sequence
from fuxictr_loopfm.data.transform import Tokens, visible_counts
from fuxictr_loopfm.data.view import EncodedView
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.atomic import fingerprint, locked, write_json
from fuxictr_loopfm.prepared.dataset import PreparedDataset

__all__ = ["EncodedView", "View", "build_view"]

View = Literal["teacher", "vertical"]
OWN_SEQUENCES = "loopfm_own_sequences"
TRAIN_ON = "loopfm_train_on"

_ENCODING_VERSION = 1
_EVENTS_FILE = "events.parquet"
_POLARS_TYPES = {"str": pl.String, "int": pl.Int64, "float": pl.Float64}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Build:
    """One view to be built.

    Attributes:
        plan: feature and label columns, with the event id and the group among the features.
        group_id: name of the group column.
        group_of: event column copied into it, None if the configuration describes it.
        splits: the events of each split, by event_id.
    """

    prepared: PreparedDataset
    params: Mapping[str, Any]
    view: View
    plan: ColumnPlan
    group_id: str
    group_of: str | None
    splits: dict[str, slice]

    @property
    def sequences(self) -> list[str]:
        """Prepared sequences among the features, in feature order."""
        known = {sequence.name for sequence in self.prepared.spec.sequences}
        return [c["name"] for c in self.plan.encoded if c["name"] in known]


def build_view(prepared: PreparedDataset, params: Mapping[str, Any], view: View) -> EncodedView:
    """Encode one view of a prepared data set, or reuse it if nothing that matters changed.

    Vocabularies and scalers are fitted on the view's train split alone (group ids on all events).
    Splits are ``train`` and ``log`` for the teacher; ``warmup`` (all before), ``train`` and
    ``test`` for the vertical model. Sequences of the prepared data set are encoded once per token.

    Args:
        prepared: the events.
        params: FuxiCTR params: ``data_root``, ``dataset_id``, ``feature_cols``, ``label_col``,
            optional ``min_categr_count`` and ``group_id`` (default: a column ``group_id`` made
            from the user). Columns of type ``loopfm_sequence`` are no part of a view, see
            ``columns.with_histories``.
        view: whose columns and periods.

    Raises:
        ConfigError: columns that the view does not have, or contradictory settings; all at once.
        DataError: values that do not fit the columns' types.
    """
    build = _planned(prepared, params, view)
    identity = {
        "encoding_version": _ENCODING_VERSION,
        "prepared": prepared.fingerprint,
        "view": view,
        "feature_cols": build.plan.encoded,
        "label_col": build.plan.labels,
        "min_categr_count": params.get("min_categr_count", 1),
        "group_id": [build.group_id, build.group_of],
        **({TRAIN_ON: "all"} if _trains_on_all(params, view) else {}),
        **pretrained_identity(build.plan.encoded),
    }
    folder = encoded_folder(params, fingerprint(identity))
    with locked(folder):
        if reusable_manifest(folder, fingerprint(identity)) is None:
            _logger.info("Encode the %s view of %s into %s", view, prepared.folder, folder)
            _encode(build, folder, fingerprint(identity))
        show_newest(folder)
        return EncodedView.open(folder)


def _planned(prepared: PreparedDataset, params: Mapping[str, Any], view: View) -> _Build:
    if view not in ("teacher", "vertical"):
        raise ConfigError(f"view: expected teacher or vertical, found {view!r}")
    plan = ColumnPlan.from_params(params)
    group_id = str(params.get("group_id") or DEFAULT_GROUP)
    group_of = None
    added: list[dict[str, Any]] = []
    if EVENT_ID not in plan.order:
        added.append({"name": EVENT_ID, "active": True, "dtype": "int", "type": "meta"})
        added[-1]["remap"] = False
    if group_id not in plan.order:
        group_of = prepared.spec.user if group_id == DEFAULT_GROUP else group_id
        added.append({"name": group_id, "active": True, "dtype": "str", "type": "meta"})
    own_sequences = bool(params.get(OWN_SEQUENCES))
    problems = _unknown_columns(prepared, plan, view, group_of, own_sequences)
    if problems:
        raise ConfigError(
            [f"{params.get('dataset_id')}: {problem}" for problem in problems],
            "Change feature_cols, label_col or group_id in dataset_config.yaml, or prepare the "
            "data set again if a newer script writes them.",
        )
    plan = replace(
        plan,
        encoded=(*plan.encoded, *added),
        order=(*plan.order, *(column["name"] for column in added)),
    )
    splits = _splits(prepared, view, _trains_on_all(params, view))
    return _Build(prepared, params, view, plan, group_id, group_of, splits)


def _trains_on_all(params: Mapping[str, Any], view: View) -> bool:
    return view == "vertical" and params.get(TRAIN_ON) == "all"


def _unknown_columns(
    prepared: PreparedDataset,
    plan: ColumnPlan,
    view: View,
    group_of: str | None,
    own_sequences: bool,
) -> list[str]:
    spec = prepared.spec
    features = {column.name for column in spec.columns_of(view)}
    every = {column.name for column in spec.columns} | set(spec.side_columns)
    every |= {spec.label, EVENT_ID, "timestamp", "period"}
    sequences = {s.name: s for s in spec.sequences if own_sequences or view in s.views}
    problems = []
    for column in plan.encoded:
        name = column["name"]
        if name in sequences and column["type"] == "sequence":
            if column.get("max_len", 0) > sequences[name].max_len:
                problems.append(
                    f"{name}: max_len: expected at most {sequences[name].max_len}, which "
                    f"{prepared.folder} holds, found {column['max_len']}"
                )
            continue
        allowed = every if column["type"] == "meta" else features
        if name not in allowed and "preprocess" not in column:
            problems.append(
                f"{name}: the {view} view of {prepared.folder} has no such {column['type']} "
                f"column; it has {sorted(features | set(sequences))}"
            )
    wanted = [column["name"] for column in plan.labels] + ([group_of] if group_of else [])
    problems += [
        f"{name}: {prepared.folder} has no such column; it has {sorted(every)}"
        for name in wanted
        if name not in every
    ]
    return problems


def _splits(prepared: PreparedDataset, view: View, on_all: bool) -> dict[str, slice]:
    periods, rows_of = prepared.spec.periods, prepared.rows_of
    if view == "teacher":
        return {"train": rows_of(periods.teacher_train), "log": rows_of(periods.log)}
    before = periods.teacher_train if on_all else ()
    train = rows_of((*before, *periods.vertical_train))
    return {"warmup": slice(0, train.start), "train": train, "test": rows_of(periods.test)}


def _parts(splits: Mapping[str, slice], num_events: int) -> dict[str, slice]:
    """Files to write: the splits, and ``unused-<i>`` for events that no split covers."""
    parts = {f"{name}.parquet": rows for name, rows in splits.items() if rows.start < rows.stop}
    covered = 0
    by_start = sorted(parts.values(), key=lambda rows: (rows.start, rows.stop))
    for rows in [*by_start, slice(num_events, num_events)]:
        if covered < rows.start:
            parts[f"unused-{len(parts)}.parquet"] = slice(covered, rows.start)
        covered = max(covered, rows.stop)
    return parts


def _plain(ranges: Mapping[str, slice]) -> dict[str, list[int]]:
    """Row ranges as they stand in a manifest: ``[start, stop]`` by name."""
    return {name: [rows.start, rows.stop] for name, rows in ranges.items()}


def _encode(build: _Build, folder: Path, identity: str) -> None:
    parts = _parts(build.splits, build.prepared.spec.rows)
    sequences = [_read_sequence(build, name) for name in build.sequences]
    ragged = {sequence.name: sequence.visible for sequence in sequences}
    manifest = {
        **_manifest(build, sequences),
        "fingerprint": identity,
        "parts": _plain(parts),
    }
    with publishing(folder, manifest) as staging, data_errors(str(build.prepared.folder)):
        processor = LocalProcessor(build.plan, str(build.params["dataset_id"]), staging, ragged)
        rows = processor.preprocess(_table(build, processor))
        processor.fit(
            rows[build.splits["train"]],
            meta_ddf=rows,
            min_categr_count=manifest["params"]["min_categr_count"],
        )
        for file, part in parts.items():
            processor.write(rows[part], staging / file)
        for index, sequence in enumerate(sequences):
            save_sequence(staging, index, sequence.encoded(processor))
        # In the layout of our own descriptions, as ever.
        feature_map = json.loads((staging / FEATURE_MAP_FILE).read_text(encoding="utf-8"))
        write_json(staging / FEATURE_MAP_FILE, feature_map)


def _manifest(build: _Build, sequences: list[_Sequence]) -> dict[str, Any]:
    return {
        "view": build.view,
        "dataset_id": str(build.params["dataset_id"]),
        "prepared_dataset_id": build.prepared.spec.dataset_id,
        "prepared_fingerprint": build.prepared.fingerprint,
        "rows": build.prepared.spec.rows,
        "splits": _plain(build.splits),
        "group_id": build.group_id,
        "labels": [column["name"] for column in build.plan.labels],
        "sequences": [
            {"name": s.name, "max_len": s.max_len, "padding": s.column.get("padding", "post")}
            for s in sequences
        ],
        "params": {
            "feature_cols": build.plan.encoded,
            "label_col": build.plan.labels,
            "min_categr_count": build.params.get("min_categr_count", 1),
            "group_id": build.group_id,
        },
    }


def _table(build: _Build, processor: LocalProcessor) -> pl.LazyFrame:
    """All events as FuxiCTR would read them from a file, in the configured types."""
    table = pl.scan_parquet(build.prepared.folder / _EVENTS_FILE)
    if build.group_of is not None:
        table = table.with_columns(pl.col(build.group_of).cast(pl.String).alias(build.group_id))
    schema = table.collect_schema()
    casts = []
    for column in (*processor.table_columns(), *processor.label_cols):
        name, wanted = column["name"], _POLARS_TYPES[column["dtype"]]
        if name not in schema:
            continue
        values = pl.col(name)
        if schema[name] == pl.String and wanted != pl.String:
            values = values.replace("", None)
        casts.append(values.cast(wanted))
    return table.with_columns(casts)


@dataclass(frozen=True)
class _Sequence:
    """A prepared sequence on its way to ids."""

    name: str
    column: ColumnDict
    tokens: Tokens
    end: np.ndarray
    length: np.ndarray
    visible: RaggedTokens

    @property
    def max_len(self) -> int:
        return self.column.get("max_len") or self.visible.max_len

    def encoded(self, processor: LocalProcessor) -> EncodedSequence:
        na_value = self.column.get("fill_na", "")
        codes = self.tokens.ids(processor.vocabulary(self.name), na_value)
        # The newest tokens are kept on either padding side; FuxiCTR's post side keeps the oldest.
        length = np.minimum(self.length, self.max_len)
        return EncodedSequence(codes, self.end, length, self.max_len)


def _read_sequence(build: _Build, name: str) -> _Sequence:
    values, end, length = build.prepared.sequence(name)
    train = build.splits["train"]
    tokens = Tokens.of(values)
    del values  # a column of tokens is the largest thing in memory here
    counts = visible_counts(tokens, end[train], length[train])
    max_len = next(s.max_len for s in build.prepared.spec.sequences if s.name == name)
    column = next(c for c in build.plan.encoded if c["name"] == name)
    return _Sequence(name, column, tokens, end, length, RaggedTokens(counts, max_len))
