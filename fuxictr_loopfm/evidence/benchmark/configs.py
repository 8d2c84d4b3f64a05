"""FuxiCTR configuration folders for a prepared data set, written when none is at hand.

The texts are meant to be read and edited: one shared block per model, and one short expid per
method that differs from it in the ``loopfm_*`` keys that make the method.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.keys import default_values
from fuxictr_loopfm.config.names import PREFIX
from fuxictr_loopfm.config.sequence_fields import (
    needs_sequence,
    padding_of,
    pooled,
    sequence_fields,
    sequences_of,
    unpooled,
    with_target,
)
from fuxictr_loopfm.config.zoo import default_hyper_parameters
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.evidence.benchmark.yaml_sections import write_sections
from fuxictr_loopfm.evidence.methods import BASE as BASE_METHOD
from fuxictr_loopfm.evidence.methods import METHODS, VERTICAL_METHODS, method_slug
from fuxictr_loopfm.prepared.dataset import DatasetSpec, SequenceColumn
from fuxictr_loopfm.tuning.batch_rule import batch_size_for
from fuxictr_loopfm.tuning.log_rule import LogRule

# Ours, chosen on the last training period of KuaiRandPure_s1 and MovieLens100K_s1.
SIZES: dict[str, dict[str, Any]] = {
    "": {"embedding_dim": 16, "hidden_units": [128, 64]},
    "small": {"embedding_dim": 4, "hidden_units": [32, 16]},
}
NO_RULE = LogRule({}, {})
HIDDEN_UNITS = ("hidden_units", "dnn_hidden_units")
DATASET_KEYS = ("dataset_id", "model_id", "gpu", "use_features", "feature_specs", "feature_config")
# Keys that belong to a data set, a view or a machine.
_PLACES = ("prepare", "prepared", "raw_data", "model_zoo", "teacher_config", "train_periods")
_NOT_SHARED = frozenset(PREFIX + name for name in ("view", "own_sequences", "teacher", *_PLACES))
# Where a model's own default needs many epochs. EDCN multiplies its embeddings, which start at
# 1e-4, in every layer: without batch normalisation its input is lost among the roundings of float32
# and it predicts a constant.
ONE_PASS: dict[str, dict[str, Any]] = {"EDCN": {"batch_norm": True}}
COMMON: dict[str, Any] = {
    "loss": "binary_crossentropy",
    "metrics": ["gAUC", "AUC", "logloss"],
    "task": "binary_classification",
    "optimizer": "adam",
    "learning_rate": 1.0e-3,
    "batch_size": 256,
    "epochs": 1,
    "shuffle": False,
    "seed": 2019,
    "monitor": {"AUC": 1, "gAUC": 1},
    "monitor_mode": "max",
}
# The section that FuxiCTR merges into every expid.
BASE = {
    "model_root": "./checkpoints/",
    "num_workers": 0,
    "verbose": 1,
    "early_stop_patience": 2,
    "save_best_only": True,
    "eval_steps": None,
    "debug_mode": False,
    "use_features": None,
    "feature_specs": None,
}


@dataclass(frozen=True)
class ModelName:
    """``DeepFM`` or ``DeepFM:small``: a model class and one of ``SIZES``."""

    model: str
    size: str = ""

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Raises ConfigError for an unknown size."""
        model, _, size = text.partition(":")
        if size not in SIZES:
            raise ConfigError(
                f"model {text!r}: expected a size among {sorted(filter(None, SIZES))} after the "
                f"colon, found {size!r}. Choose one, or leave the colon out."
            )
        return cls(model, size)

    def __str__(self) -> str:
        return f"{self.model}:{self.size}" if self.size else self.model

    def prefix(self, dataset_id: str) -> str:
        """Start of this model's expids."""
        return "_".join(part for part in (self.model, dataset_id, self.size) if part)


def teacher_dataset_id(dataset_id: str) -> str:
    """Id of the teacher's view: the protocol's suffix stays at the end."""
    stem, _, suffix = dataset_id.rpartition("_")
    return f"{stem}_teacher_{suffix}"


def lists_dataset_id(dataset_id: str) -> str:
    """Id of the vertical view that also has the teacher's ready-made sequences."""
    stem, _, suffix = dataset_id.rpartition("_")
    return f"{stem}_lists_{suffix}"


def folder_name(model: str, dataset_id: str) -> str:
    """BARS's name of a configuration folder."""
    return f"{model}_{dataset_id}"


@dataclass(frozen=True)
class Location:
    """Where a data set's files are, as the configuration should name them."""

    data_root: str
    prepared: str
    prepare: str | None
    raw_data: str | None


def dataset_config(
    spec: DatasetSpec,
    view: str,
    where: Location,
    *,
    own_sequences: bool = False,
    padding: str = "pre",
    rule: LogRule = NO_RULE,
) -> dict[str, Any]:
    """The ``dataset_config.yaml`` entry of one view.

    Args:
        spec: the data set.
        view: ``teacher`` or ``vertical``.
        where: places of its files.
        own_sequences: the vertical view also gets the sequences that only the teacher has.
        padding: the side on which sequences are padded.
        rule: what follows from the log's statistics.
    """
    least = int(rule.params.get("min_categr_count", 1))
    columns: list[dict[str, Any]] = []
    for kind, dtype in (("categorical", "str"), ("categorical", "int"), ("numeric", "float")):
        found = [column for column in spec.columns if (column.type, column.dtype) == (kind, dtype)]
        names = [column.name for column in found if view in column.views]
        # A threshold that no value of a column reaches would leave it without any.
        kept = [name for name in names if rule.most.get(name, least) < least]
        names = [name for name in names if name not in kept]
        entry: dict[str, Any] = {"name": names, "active": True, "dtype": dtype, "type": kind}
        if kind == "numeric":
            entry["normalizer"] = "StandardScaler"
        if names:
            columns.append(entry)
        if kept:
            columns.append({**entry, "name": kept, "min_categr_count": 1})
    columns += [pooled(s, padding) for s in sequences_of(spec, view, own_sequences)]
    # A feature for histories, which is there only where ``loopfm_history`` names columns.
    columns.append(
        {"name": "loopfm_history", "active": True, "dtype": "float", "type": "loopfm_sequence"}
    )
    return {
        "data_root": where.data_root,
        "data_format": "parquet",
        "loopfm_prepared": where.prepared,
        "loopfm_prepare": where.prepare,
        "loopfm_raw_data": where.raw_data,
        "loopfm_view": view,
        **({PREFIX + "own_sequences": True} if own_sequences else {}),
        "min_categr_count": least,
        "group_id": "group_id",
        "feature_cols": columns,
        "label_col": {"name": spec.label, "dtype": "float"},
    }


def model_block(
    model: str,
    size: Mapping[str, Any],
    spec: DatasetSpec,
    view: str,
    zoos: Sequence[Path],
    own_sequences: bool = False,
) -> dict[str, Any]:
    """Hyper-parameters of a model: its own defaults, this size, the streaming protocol.

    Args:
        model: its class.
        size: one of ``SIZES``, or the teacher's.
        spec: the data set.
        view: ``teacher`` or ``vertical``.
        zoos: folders to look for its own defaults.
        own_sequences: as in ``dataset_config``.
    """
    sequences = sequences_of(spec, view, own_sequences)
    defaults = default_hyper_parameters(model, list(zoos))
    block = {k: v for k, v in defaults.items() if k not in DATASET_KEYS and k != "model"}
    fields = sequence_fields(model, defaults, sequences)
    if fields:
        block["feature_specs"] = unpooled(model, fields, sequences)
    for key in HIDDEN_UNITS:
        if key in defaults:
            block[key] = size["hidden_units"]
    return {
        "model": model,
        **block,
        **COMMON,
        "embedding_dim": size["embedding_dim"],
        **fields,
        **ONE_PASS.get(model, {}),
    }


def write_vertical_config(
    folder: Path,
    spec: DatasetSpec,
    where: Location,
    zoos: Sequence[Path],
    name: ModelName,
    teacher: tuple[str, str],
    fresh: Mapping[str, Any] | None = None,
    own_sequences: bool = False,
    rule: LogRule = NO_RULE,
) -> None:
    """Write a vertical model's configuration folder with one expid per size and method.

    Args:
        folder: where to write; made if missing.
        spec: the data set.
        where: places of its files.
        zoos: folders to look for the model's own defaults.
        name: the model.
        teacher: the teacher's configuration folder, as the file should name it, and its expid.
        fresh: the keys that say how this teacher goes on learning, see ``fresh_keys``.
        own_sequences: give the model the sequences that only the teacher has; it gets them anyway
            if its own defaults name a sequence and its view has none.
        rule: what follows from the log's statistics.
    """
    own_sequences = _shares_sequences(name.model, spec, zoos, own_sequences)
    with_lists = len(sequences_of(spec, "vertical", own_sequences)) < len(spec.sequences)
    sections: dict[str, dict[str, Any]] = {"Base": BASE}
    for size_name, size in SIZES.items():
        prefix = ModelName(name.model, size_name).prefix(spec.dataset_id)
        shared = {
            "batch_size": batch_size_for(spec, spec.periods.vertical_train),
            "loopfm_teacher_config": teacher[0],
            "loopfm_teacher": teacher[1],
            "loopfm_kd": "none",
            "loopfm_history": None,
            **_shared_keys(),
            **(fresh or {}),
        }
        for method in VERTICAL_METHODS:
            lists = with_lists and METHODS[method].reads_lists
            view_id = lists_dataset_id(spec.dataset_id) if lists else spec.dataset_id
            block = model_block(name.model, size, spec, "vertical", zoos, own_sequences or lists)
            section = {**block, "dataset_id": view_id, **shared, **METHODS[method].keys}
            sections[f"{prefix}_{method_slug(method)}"] = section
    _write_views(folder, spec, where, name.model, own_sequences, with_lists, rule)
    remarks = [
        f"{name.model} on {spec.dataset_id}, an expid per method.",
        how_to_run(f"{name.prefix(spec.dataset_id)}_kd_loopfm"),
    ]
    first = f"{ModelName(name.model).prefix(spec.dataset_id)}_{BASE_METHOD}"
    write_sections(folder / "model_config.yaml", remarks, sections, first)


def _write_views(
    folder: Path,
    spec: DatasetSpec,
    where: Location,
    model: str,
    own_sequences: bool,
    with_lists: bool,
    rule: LogRule,
) -> None:
    """``dataset_config.yaml``: the vertical view and, where the teacher has more, one with that."""
    views = {spec.dataset_id: own_sequences}
    remarks = [f"The vertical view of {spec.dataset_id}."]
    if own_sequences:
        shared_names = _shown(sequences_of(spec, "vertical", own_sequences))
        remarks.append(f"{model} also reads the teacher's sequences: {shared_names}.")
    if with_lists:
        views[lists_dataset_id(spec.dataset_id)] = True
        names = _shown(sequences_of(spec, "vertical", True))
        remarks.append(f"With the teacher's sequences, for methods with raw histories: {names}.")
    sections = {
        view_id: dataset_config(
            spec, "vertical", where, own_sequences=lists, padding=padding_of(model), rule=rule
        )
        for view_id, lists in views.items()
    }
    write_sections(folder / "dataset_config.yaml", remarks, sections)


def _shares_sequences(model: str, spec: DatasetSpec, zoos: Sequence[Path], wanted: bool) -> bool:
    """Whether a vertical model reads the sequences that only the teacher's view has."""
    seen, every = sequences_of(spec, "vertical"), sequences_of(spec, "vertical", True)
    if len(seen) == len(every):
        return False
    if wanted:
        return True
    if with_target(seen) or not with_target(every):
        return False
    if not needs_sequence(default_hyper_parameters(model, list(zoos))):
        return False
    logging.info(
        "%s reads a behaviour sequence and the vertical view of %s has none: it gets %s of the "
        "teacher's view (loopfm_own_sequences: true in its dataset_config.yaml).",
        *(model, spec.dataset_id, _shown(every)),
    )
    return True


def _shown(sequences: Sequence[SequenceColumn]) -> str:
    return ", ".join(f"{each.name} (of {each.of or 'its own values'})" for each in sequences)


def _shared_keys() -> dict[str, Any]:
    """The ``loopfm_*`` keys that all methods share, so that a tuner may sweep each of them."""
    return {name: value for name, value in default_values().items() if name not in _NOT_SHARED}


def how_to_run(expid: str) -> str:
    """The remark that says how an expid is run by itself."""
    return f"Run: python run_expid.py --config CONFIG_FOLDER --expid {expid} --gpu -1"
