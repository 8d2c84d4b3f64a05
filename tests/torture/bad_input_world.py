"""The small checkout that every wrong input is tried in: models, data, runs and raw files.

It is built once and copied for each case, so every path in it is relative.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.evidence.benchmark.configs import COMMON
from fuxictr_loopfm.runs import run_expid
from tests.integration.planted import FIRST_SECOND, write_configs, write_log

ROOT = Path(__file__).parents[2]
# Enough for every stage to run, and no more: quality is not looked at.
QUICK = {"epochs": 1, "batch_size": 256}
LOG_ROWS = 60
PLAIN_ROWS = {"train": 80, "valid": 40, "test": 40}
TUNER = """base_config: ../configs/
base_expid: base
dataset_id: Planted_s1
tuner_space:
    model_root: ../../checkpoints/
    learning_rate: [0.001, 0.01]
"""


def build(folder: Path) -> None:
    """Make the checkout and run two expids in it; to be called in a process of its own."""
    _link_code(folder)
    write_log(folder / "prepared")
    up = Path("..", "..")
    write_configs(folder / "configs", up, up / "prepared", **QUICK)
    _edit_yaml(folder / "configs" / "model_config.yaml", _quick)
    _write_custom(folder / "raw")
    _write_plain(folder)
    (folder / "tuner").mkdir()
    (folder / "tuner" / "tuner.yaml").write_text(TUNER, encoding="utf-8")
    os.chdir(folder)
    script = str(folder / "model_zoo" / "DeepFM" / "run_expid.py")
    for expid in ("base", "kd_loopfm"):
        run_expid.main(script, ["--config", "configs", "--expid", expid])
    _collect_records(folder)


def copied(template: Path, folder: Path) -> None:
    """A copy of the checkout to spoil."""
    shutil.copytree(template, folder, symlinks=True)


def stand_in(folder: Path) -> None:
    """Let the commands of this process take the folder for their checkout."""
    checkout = Checkout(folder)
    Checkout.find = classmethod(lambda _: checkout)  # type: ignore[method-assign]


def _link_code(folder: Path) -> None:
    zoo = folder / "model_zoo"
    zoo.mkdir(parents=True)
    for name in ("DeepFM", "DMIN"):
        (zoo / name).mkdir()
        (zoo / name / "src").symlink_to(ROOT / "model_zoo" / name / "src")
        shutil.copy(ROOT / "model_zoo" / name / "run_expid.py", zoo / name)
    for name in ("run_expid.py", "run_param_tuner.py"):
        shutil.copy(ROOT / "model_zoo" / name, zoo)
    (folder / "data_prep").symlink_to(ROOT / "data_prep")
    (folder / "benchmark_configs").mkdir()
    (folder / "benchmark_configs" / "paper").symlink_to(ROOT / "benchmark_configs" / "paper")


def _edit_yaml(path: Path, edit: Any) -> None:
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    edit(value)
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


def _quick(sections: dict[str, Any]) -> None:
    for name, section in sections.items():
        section.update({} if name == "Base" else QUICK)


def _write_custom(folder: Path) -> None:
    """A raw log of one's own and a spec for ``custom.py``."""
    folder.mkdir()
    index = np.arange(LOG_ROWS)
    log = pd.DataFrame(
        {
            "uid": [f"u{row % 7}" for row in index],
            "item": [f"i{row % 5}" for row in index],
            "ts": FIRST_SECOND + index * 3600,
            "click": index % 2,
            "price": index / 4,
            "surface": ["feed", "ads"] * (LOG_ROWS // 2),
        }
    )
    log.to_csv(folder / "log.csv", index=False)
    spec = {
        "dataset_id": "Mine_s1",
        "log": "log.csv",
        "user": "uid",
        "item": "item",
        "time": {"column": "ts", "unit": "s"},
        "label": "click",
        "vertical": ["uid", "item", "price"],
        "teacher_only": ["surface"],
        "numeric": ["price"],
        "periods": {"kind": "chunks", "count": 4},
        "teacher_periods": 2,
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")


def _write_plain(folder: Path) -> None:
    """A FuxiCTR data set without a clock: three csv files, protocol ``bars``."""
    random = np.random.default_rng(3)
    data = folder / "plain"
    data.mkdir()
    for split, rows in PLAIN_ROWS.items():
        frame = pd.DataFrame(
            {
                "click": np.arange(rows) % 2,
                "user": random.integers(0, 9, rows),
                "price": random.normal(size=rows).round(3),
            }
        )
        frame.to_csv(data / f"{split}.csv", index=False)
    up = "../../"
    dataset = {
        "data_root": f"{up}data",
        "data_format": "csv",
        **{f"{split}_data": f"{up}plain/{split}.csv" for split in PLAIN_ROWS},
        "min_categr_count": 1,
        "feature_cols": [
            {"name": "user", "active": True, "dtype": "str", "type": "categorical"},
            {"name": "price", "active": True, "dtype": "float", "type": "numeric"},
        ],
        "label_col": {"name": "click", "dtype": "float"},
    }
    model = {
        **COMMON,
        "model": "DeepFM",
        "dataset_id": "Plain_x1",
        "model_root": f"{up}checkpoints",
        "metrics": ["AUC", "logloss"],
        "monitor": "AUC",
        "embedding_dim": 4,
        "hidden_units": [8],
        "hidden_activations": "relu",
        "verbose": 0,
    }
    configs = folder / "plain_configs"
    configs.mkdir()
    _dump(configs / "dataset_config.yaml", {"Plain_x1": dataset})
    _dump(configs / "model_config.yaml", {"Base": {}, "plain": model})


def _dump(path: Path, value: Any) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


def _collect_records(folder: Path) -> None:
    """The records as ``loopfm benchmark`` leaves them; the runs' other traces go."""
    target = folder / "runs" / "records"
    target.mkdir(parents=True)
    model = folder / "model_zoo" / "DeepFM"
    for path in sorted((model / "records").rglob("*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        (target / path.name).write_text(json.dumps(value, indent=1), encoding="utf-8")
    shutil.rmtree(model / "records")
    (model / "configs.csv").unlink()
    shutil.rmtree(folder / "checkpoints")
