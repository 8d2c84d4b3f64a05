"""The configuration folder of a rehearsal: a small teacher, and DeepFM without and with LoopFM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.evidence.benchmark.configs import (
    BASE,
    Location,
    dataset_config,
    model_block,
    teacher_dataset_id,
)
from fuxictr_loopfm.evidence.methods import METHODS
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from tests.rehearsal.stages import DATASET_ID

TEACHER = "rehearsal_teacher"
METHOD_OF_EXPID = {"rehearsal_base": "base", "rehearsal_loopfm": "KD+LoopFM"}
BASE_EXPID, LOOPFM_EXPID = METHOD_OF_EXPID
MODEL = "DeepFM"
TEACHER_SIZE = {"embedding_dim": 8, "hidden_units": [128, 64]}
VERTICAL_SIZE = {"embedding_dim": 4, "hidden_units": [64, 32]}
MIN_COUNT = 10  # as in BARS' configurations of TaobaoAd
BATCH_SIZE = 8192
TEACHER_BATCH_SIZE = 16_384
# Pooling 150 tokens a sample is most of a small teacher's step; one of the three histories stays.
TEACHER_HISTORIES = ("cate_his",)


def write_configs(work: Path) -> Path:
    """Write ``configs/`` for the prepared data set under ``work``; returns the folder."""
    spec = PreparedDataset.load(work / "prepared" / DATASET_ID).spec
    zoos = [Checkout.find().zoo]
    data_root = str(work / "data")
    where = Location(data_root, str(work / "prepared" / DATASET_ID), None, None)
    data: dict[str, Any] = {}
    for view, dataset_id in (("teacher", teacher_dataset_id(DATASET_ID)), ("vertical", DATASET_ID)):
        data[dataset_id] = dataset_config(spec, view, where) | {"min_categr_count": MIN_COUNT}
    columns = data[teacher_dataset_id(DATASET_ID)]["feature_cols"]
    columns[:] = [c for c in columns if c["type"] != "sequence" or c["name"] in TEACHER_HISTORIES]
    teacher = model_block(MODEL, TEACHER_SIZE, spec, "teacher", zoos)
    teacher["batch_size"] = TEACHER_BATCH_SIZE
    vertical = model_block(MODEL, VERTICAL_SIZE, spec, "vertical", zoos)
    vertical["batch_size"] = BATCH_SIZE
    models: dict[str, Any] = {
        "Base": BASE | {"model_root": str(work / "checkpoints"), "verbose": 0},
        TEACHER: teacher | {"dataset_id": teacher_dataset_id(DATASET_ID)},
    }
    for expid, method in METHOD_OF_EXPID.items():
        loopfm = {"loopfm_teacher": TEACHER, "loopfm_max_len": 50, **METHODS[method].keys}
        models[expid] = vertical | {"dataset_id": DATASET_ID} | loopfm
    folder = work / "configs"
    folder.mkdir(exist_ok=True)
    for name, content in (("dataset_config", data), ("model_config", models)):
        text = yaml.safe_dump(content, sort_keys=False)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder
