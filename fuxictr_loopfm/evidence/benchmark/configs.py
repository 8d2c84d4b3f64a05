"""FuxiCTR configuration folders for a prepared data set, written when none is at hand.

The texts are meant to be read and edited: one shared block per model, and one short expid per
method that differs from it in the ``loopfm_*`` keys that make the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fuxictr_loopfm.config.keys import default_values
from fuxictr_loopfm.config.names import PREFIX
from fuxictr_loopfm.config.zoo import default_hyper_parameters
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.evidence.methods import BASE as BASE_METHOD
from fuxictr_loopfm.evidence.methods import METHODS, method_slug
from fuxictr_loopfm.files.atomic import write_text
from fuxictr_loopfm.prepared.dataset import DatasetSpec

# Ours, chosen on the last training period of KuaiRandPure_s1 and MovieLens100K_s1.
SIZES: dict[str, dict[str, Any]] = {
    "": {"embedding_dim": 16, "hidden_units": [128, 64]},
    "small": {"embedding_dim": 4, "hidden_units": [32, 16]},
}
TEACHER_MODEL = "DMIN"
TEACHER_SIZE: dict[str, Any] = {"embedding_dim": 16, "hidden_units": [256, 128, 64]}
HIDDEN_UNITS = ("hidden_units", "dnn_hidden_units")
DATASET_KEYS = ("dataset_id", "model_id", "gpu", "use_features", "feature_specs", "feature_config")
# Keys that belong to a data set, a view or a machine.
_PLACES = ("prepare", "prepared", "raw_data", "model_zoo", "teacher_config")
_NOT_SHARED = frozenset(PREFIX + name for name in ("view", "teacher", *_PLACES))
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


def dataset_config(spec: DatasetSpec, view: str, where: Location) -> dict[str, Any]:
    """The ``dataset_config.yaml`` entry of one view."""
    columns: list[dict[str, Any]] = []
    for kind, dtype in (("categorical", "str"), ("categorical", "int"), ("numeric", "float")):
        found = [column for column in spec.columns if (column.type, column.dtype) == (kind, dtype)]
        names = [column.name for column in found if view in column.views]
        entry = {"name": names, "active": True, "dtype": dtype, "type": kind}
        if kind == "numeric":
            entry["normalizer"] = "StandardScaler"
        if names:
            columns.append(entry)
    for sequence in spec.sequences:
        entry = {
            "name": sequence.name, "active": True, "dtype": "str", "type": "sequence",
            "share_embedding": sequence.of, "max_len": sequence.max_len,
            "padding": "pre", "feature_encoder": "layers.MaskedAveragePooling()",
        }  # fmt: skip
        if view in sequence.views:
            columns.append(entry)
    if view == "vertical":
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
        "min_categr_count": 1,
        "group_id": "group_id",
        "feature_cols": columns,
        "label_col": {"name": spec.label, "dtype": "float"},
    }


def _sequence_fields(defaults: Mapping[str, Any], spec: DatasetSpec, view: str) -> dict[str, Any]:
    """Fill DIN-like models' field keys from the data set's sequences; none means no sequence."""
    sequences = [s for s in spec.sequences if view in s.views]
    targets: Any = [s.of for s in sequences] or None
    histories: Any = [s.name for s in sequences] or None
    filled: dict[str, Any] = {}
    for key in defaults:
        if key.endswith("neg_seq_field") or key == "context_field":
            filled[key] = None
        elif key.endswith("target_field"):
            filled[key] = targets
        elif key.endswith("sequence_field"):
            filled[key] = histories
    return filled


def model_block(
    model: str, size: Mapping[str, Any], spec: DatasetSpec, view: str, zoos: Sequence[Path]
) -> dict[str, Any]:
    """Hyper-parameters of a model: its own defaults, this size, the streaming protocol."""
    defaults = default_hyper_parameters(model, list(zoos))
    block = {k: v for k, v in defaults.items() if k not in DATASET_KEYS and k != "model"}
    sequence_fields = _sequence_fields(defaults, spec, view)
    if any("sequence" in key for key in sequence_fields):
        block["feature_specs"] = [
            {"name": s.name, "feature_encoder": None} for s in spec.sequences if view in s.views
        ] or None
    for key in HIDDEN_UNITS:
        if key in defaults:
            block[key] = size["hidden_units"]
    return {
        "model": model,
        **block,
        **COMMON,
        "embedding_dim": size["embedding_dim"],
        **sequence_fields,
    }


def write_teacher_config(
    folder: Path, spec: DatasetSpec, where: Location, zoos: Sequence[Path], model: str
) -> str:
    """Write the teacher's configuration folder; returns its expid."""
    dataset_id = teacher_dataset_id(spec.dataset_id)
    expid = folder_name(model, dataset_id)
    block = model_block(model, TEACHER_SIZE, spec, "teacher", zoos)
    block |= {"dataset_id": dataset_id, "epochs": 2, "shuffle": True}
    data = {dataset_id: dataset_config(spec, "teacher", where)}
    _write(folder / "dataset_config.yaml", [f"The teacher's view of {spec.dataset_id}."], data)
    remarks = [f"Foundation model of {spec.dataset_id}.", _how_to_run(expid)]
    _write(folder / "model_config.yaml", remarks, {"Base": BASE, expid: block}, expid)
    return expid


def write_vertical_config(
    folder: Path,
    spec: DatasetSpec,
    where: Location,
    zoos: Sequence[Path],
    name: ModelName,
    teacher: tuple[str, str],
) -> None:
    """Write a vertical model's configuration folder with one expid per size and method.

    Args:
        folder: where to write; made if missing.
        spec: the data set.
        where: places of its files.
        zoos: folders to look for the model's own defaults.
        name: the model.
        teacher: the teacher's configuration folder, as the file should name it, and its expid.
    """
    sections: dict[str, dict[str, Any]] = {"Base": BASE}
    for size_name, size in SIZES.items():
        prefix = ModelName(name.model, size_name).prefix(spec.dataset_id)
        shared = model_block(name.model, size, spec, "vertical", zoos)
        shared |= {
            "dataset_id": spec.dataset_id,
            "loopfm_teacher_config": teacher[0],
            "loopfm_teacher": teacher[1],
            "loopfm_kd": "none",
            "loopfm_history": None,
            **_shared_keys(),
        }
        for method, changes in METHODS.items():
            sections[f"{prefix}_{method_slug(method)}"] = {**shared, **changes}
    data = {spec.dataset_id: dataset_config(spec, "vertical", where)}
    _write(folder / "dataset_config.yaml", [f"The vertical view of {spec.dataset_id}."], data)
    remarks = [
        f"{name.model} on {spec.dataset_id}, an expid per method.",
        _how_to_run(f"{name.prefix(spec.dataset_id)}_kd_loopfm"),
    ]
    first = f"{ModelName(name.model).prefix(spec.dataset_id)}_{BASE_METHOD}"
    _write(folder / "model_config.yaml", remarks, sections, first)


def _shared_keys() -> dict[str, Any]:
    """The ``loopfm_*`` keys that all methods share, so that a tuner may sweep each of them."""
    return {name: value for name, value in default_values().items() if name not in _NOT_SHARED}


def _how_to_run(expid: str) -> str:
    return f"Run: python run_expid.py --config CONFIG_FOLDER --expid {expid} --gpu -1"


def _write(
    path: Path,
    remarks: Sequence[str],
    sections: Mapping[str, Mapping[str, Any]],
    first: str | None = None,
) -> None:
    """Write a YAML file with remarks at its head and its sections apart.

    Args:
        path: the file.
        remarks: lines of the comment.
        sections: content by name.
        first: a section that has the keys of all that come after it. They are written as a merge of
            it (``<<: *first``) and the keys in which they differ.
    """
    lines = [f"# {remark}" for remark in remarks]
    shared: Mapping[str, Any] | None = None
    for name, section in sections.items():
        if shared is not None:
            changes = {key: value for key, value in section.items() if value != shared[key]}
            # PyYAML writes no merges: a quoted stand-in is written, and replaced.
            text = _dump({name: {"<<": f"@{first}", **changes}})
            text = text.replace(f"'<<': '@{first}'", f"<<: *{first}", 1)
        elif name == first:
            shared = section
            text = _dump({name: section}).replace(f"{name}:", f"{name}: &{name}", 1)
        else:
            text = _dump({name: section})
        lines += ["", text]
    write_text(path, "\n".join(lines) + "\n")


def _dump(section: Mapping[str, Any]) -> str:
    return yaml.safe_dump(
        section, sort_keys=False, default_flow_style=None, width=98, indent=4
    ).rstrip()
