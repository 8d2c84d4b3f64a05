"""Write an archive: one small artifact of every kind, by the code that is imported.

    cd /tmp && PYTHONPATH=<tree of the version>:<this checkout> \\
        python -m tests.archives.write <this checkout>/tests/archives/v2

What a reader must find is computed from the log and from the raw bytes, by nothing of the package,
and written beside the artifacts as ``expected.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

import fuxictr_loopfm
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import (
    Column,
    DatasetSpec,
    Periods,
    PreparedDataset,
    SequenceColumn,
    write_prepared,
)
from fuxictr_loopfm.records.packing import packed
from fuxictr_loopfm.records.record import RunRecord, write_record
from fuxictr_loopfm.runs.teacher import run_teacher
from fuxictr_loopfm.runs.vertical import run_vertical
from tests.archives import tiny

DATASET, TEACHER_DATASET, TEACHER = "Tiny_s1", "Tiny_teacher_s1", "tiny_teacher"
# Store by store: what its experiment changes.
STORES: dict[str, dict[str, Any]] = {
    "int8": {"loopfm_codec": "int8", "loopfm_history": "embedding+label"},
    "int4_kmeans": {"loopfm_codec": "int4_kmeans", "loopfm_num_shards": 3},
    "int_keys": {
        "loopfm_codec": "int8",
        "loopfm_key": "account",
        "loopfm_delay_seconds": 90,
        "loopfm_num_shards": 2,
    },
    "ids": {"loopfm_history": "ids+label", "loopfm_kd": "none"},
}
KEYS = {"int8": "user_id", "int4_kmeans": "user_id", "int_keys": "account", "ids": "user_id"}


def spec() -> DatasetSpec:
    """Period 1 trains the teacher, 2 to 4 are logged, 4 is the test."""
    return DatasetSpec(
        dataset_id=DATASET,
        label="click",
        user="user_id",
        item="item_id",
        time_unit="s",
        columns=(
            Column("user_id"),
            Column("item_id"),
            Column("genre"),
            Column("hour", dtype="int"),
            Column("price", "numeric", "float"),
            Column("segment", views=("teacher",)),
        ),
        sequences=(SequenceColumn("item_his", "item_id", tiny.MAX_LEN, ("teacher", "vertical")),),
        item_columns=("item_id", "genre"),
        side_columns=("account",),
        periods=Periods.split(tiny.PERIODS, teacher=1),
        period_rule="4 equal parts",
        source="made up",
    )


def prepared(folder: Path, rows: list[dict[str, Any]]) -> PreparedDataset:
    """The prepared data set of the log."""
    items = tiny.item_histories(rows)
    length = np.array([len(found) for found in items], np.uint16)
    values = np.array([item for found in items for item in found], "S")
    frame = pd.DataFrame(rows).astype({"price": np.float32})
    return write_prepared(
        folder, spec(), frame, {"item_his": (values, np.cumsum(length, dtype=np.int64), length)}
    )


def configuration() -> tuple[dict[str, Any], dict[str, Any]]:
    """``model_config`` and ``dataset_config``, with paths relative to the archive."""
    columns = [
        {"name": ["user_id", "item_id", "genre"], "dtype": "str", "type": "categorical"},
        {"name": ["hour"], "dtype": "int", "type": "categorical"},
        {"name": ["price"], "dtype": "float", "type": "numeric", "normalizer": "StandardScaler"},
        {
            "name": "item_his", "dtype": "str", "type": "sequence", "share_embedding": "item_id",
            "max_len": 3, "padding": "pre", "feature_encoder": "layers.MaskedAveragePooling()",
        },
    ]  # fmt: skip
    segment = {"name": ["segment"], "dtype": "str", "type": "categorical"}
    history = {"name": "loopfm_history", "dtype": "float", "type": "loopfm_sequence"}
    shared = {
        "data_root": "data", "data_format": "parquet", "loopfm_prepared": "prepared",
        "min_categr_count": 1, "group_id": "group_id",
        "label_col": {"name": "click", "dtype": "float"},
    }  # fmt: skip
    sides = {"vertical": [*columns, history], "teacher": [*columns, segment]}
    datasets = {
        name: {
            **shared, "loopfm_view": view,
            "feature_cols": [{**column, "active": True} for column in sides[view]],
        }
        for name, view in ((DATASET, "vertical"), (TEACHER_DATASET, "teacher"))
    }  # fmt: skip
    model = {
        "model": "DeepFM", "loss": "binary_crossentropy", "metrics": ["gAUC", "AUC", "logloss"],
        "task": "binary_classification", "optimizer": "adam", "learning_rate": 0.02,
        "batch_size": 16, "epochs": 1, "shuffle": False, "seed": 2019, "embedding_dim": 2,
        "hidden_units": [8, 4], "hidden_activations": "relu", "net_dropout": 0,
        "batch_norm": False, "embedding_regularizer": None, "net_regularizer": None,
        "monitor": {"AUC": 1}, "monitor_mode": "max",
    }  # fmt: skip
    loopfm = {
        "loopfm_teacher": TEACHER, "loopfm_kd": "aux_head", "loopfm_history": "embedding",
        "loopfm_dim": 4, "loopfm_compressor_hidden": 8, "loopfm_encoder_dim": 4,
        "loopfm_max_len": tiny.MAX_LEN,
    }  # fmt: skip
    base = {
        "model_root": "checkpoints", "num_workers": 0, "verbose": 0, "early_stop_patience": 2,
        "save_best_only": True, "eval_steps": None, "debug_mode": False, "use_features": None,
        "feature_specs": None,
    }  # fmt: skip
    models: dict[str, Any] = {"Base": base}
    compressor = {name: loopfm[name] for name in ("loopfm_dim", "loopfm_compressor_hidden")}
    own = {"dataset_id": TEACHER_DATASET, "shuffle": True, "epochs": 2}
    models[TEACHER] = {**model, **own, **compressor}
    for name, changes in STORES.items():
        models[name] = {**model, "dataset_id": DATASET, **loopfm, **changes}
    return models, datasets


def experiment(folder: Path, expid: str) -> Experiment:
    """An expid of an archive, run by the models beside the imported package."""
    zoo = Path(fuxictr_loopfm.__file__).parents[1] / "model_zoo"
    return Experiment.load(folder / "configs", expid, base_dir=folder, zoo=zoo)


def portable(record: RunRecord) -> RunRecord:
    """A record that says nothing of the machine it was made on."""
    environment = {**record.environment, "cpu": "", "cores": 1, "git_commit": ""}
    return replace(
        record, environment=environment, started="2026-11-22T00:00:00+00:00", train_seconds=0.0
    )


def write(folder: Path, version: str) -> None:
    """One artifact of every kind, and what they must be read as."""
    rows = tiny.log_rows()
    folder.mkdir(parents=True)
    tiny.write_csv(folder / tiny.LOG_FILE, rows)
    prepared(folder / "prepared", rows)
    models, datasets = configuration()
    (folder / "configs").mkdir()
    for name, value in (("model_config", models), ("dataset_config", datasets)):
        text = yaml.safe_dump(value, sort_keys=False)
        (folder / "configs" / f"{name}.yaml").write_text(text, encoding="utf-8")
    records, stores = [], {}
    for name in STORES:
        asked = experiment(folder, name)
        workspace = Workspace(asked, asked.load_teacher())
        command = f"python run_expid.py --config CONFIG_FOLDER --expid {name} --gpu -1"
        record, _, _ = run_vertical(asked, workspace, model_name="DeepFM", command=command)
        records.append(portable(record))
        stores[name] = workspace.structuring(KEYS[name]).folder.name
    command = f"python run_expid.py --config CONFIG_FOLDER --expid {TEACHER} --gpu -1"
    teacher, _ = run_teacher(experiment(folder, TEACHER), command=command)
    write_record(folder / "records", portable(teacher))
    text = packed([record.to_dict() for record in records])
    (folder / "records" / "records.jsonl").write_text(text, encoding="utf-8")
    for path in folder.rglob(".*.lock"):
        path.unlink()
    shutil.rmtree(folder / "checkpoints")
    from tests.archives.contents import expected  # what the bytes hold, read without the package

    found = {"written_by": version, "stores": stores, **expected(folder, stores)}
    lines = [f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found)]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (folder / "expected.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--version", required=True, help="what wrote it, e.g. a commit")
    options = parser.parse_args()
    write(options.folder.resolve(), options.version)
