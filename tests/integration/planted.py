"""A log of 2,000 impressions whose clicks follow each user's hidden interest in one genre.

The interest is a column of the teacher alone, so what a vertical model gains over its base comes
from the teacher's logits and from the past events.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.evidence.benchmark.configs import (
    BASE,
    COMMON,
    Location,
    dataset_config,
    teacher_dataset_id,
)
from fuxictr_loopfm.evidence.methods import DEFAULT_METHODS, METHODS, method_slug
from fuxictr_loopfm.evidence.methods import TEACHER as BOARD_TEACHER
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import (
    Column,
    DatasetSpec,
    Periods,
    PreparedDataset,
    SequenceColumn,
    write_prepared,
)
from fuxictr_loopfm.structuring.as_of import history_bounds

DATASET, TEACHER_DATASET = "Planted_s1", teacher_dataset_id("Planted_s1")
TEACHER = "teacher"
EVENTS, USERS, ITEMS, GENRES, CHUNKS = 2_000, 100, 40, 2, 6
FIRST_SECOND, MAX_LEN = 1_500_000_000, 5
DEEPFM_ZOO = Path(__file__).parents[2] / "model_zoo"
# ``loopfm benchmark`` in the checkout where it is started.
BENCHMARK = """
import sys
from pathlib import Path
from fuxictr_loopfm.commands.cli import main
from fuxictr_loopfm.config.checkout import Checkout
Checkout.find = classmethod(lambda cls: Checkout(Path.cwd()))
main(["benchmark", *sys.argv[1:]])
"""


def log_frame(seed: int = 7) -> pd.DataFrame:
    """Rows in time order; every fifth is a second impression of the same user and second."""
    random = np.random.default_rng(seed)
    interest = random.integers(0, GENRES, USERS)
    user = random.integers(0, USERS, EVENTS)
    item = random.integers(0, ITEMS, EVENTS)
    pause = random.integers(0, 3, EVENTS) * 60
    user[1::5], pause[1::5] = user[::5], 0
    wanted = interest[user] == item % GENRES
    time = FIRST_SECOND + np.cumsum(pause)
    return pd.DataFrame(
        {
            "timestamp": time,
            "period": np.arange(EVENTS) * CHUNKS // EVENTS + 1,
            "click": (random.random(EVENTS) < np.where(wanted, 0.85, 0.15)).astype(np.int8),
            "user_id": [f"u{code}" for code in user],
            "item_id": [f"i{code}" for code in item],
            "genre": [f"g{code % GENRES}" for code in item],
            "hour": [str(code) for code in time // 3600 % 24],
            "price": random.normal(size=EVENTS).astype(np.float32),
            "segment": [f"s{code}" for code in interest[user]],
        }
    )


def item_histories(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each user's newest items strictly before each event."""
    users = np.unique(frame["user_id"], return_inverse=True)[1].astype(np.int64)
    times = frame["timestamp"].to_numpy()
    order = np.argsort(users, kind="stable")
    bounds = history_bounds(users[order], times[order], users, times, max_len=MAX_LEN)
    return frame["item_id"].to_numpy()[order].astype("S"), *bounds


def log_spec() -> DatasetSpec:
    """Chunks 1 and 2 train the teacher, 3 to 6 are logged, 6 is the test."""
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
        sequences=(SequenceColumn("item_his", "item_id", MAX_LEN, ("teacher", "vertical")),),
        item_columns=("item_id", "genre"),
        periods=Periods.split(CHUNKS, teacher=2),
        period_rule=f"{CHUNKS} equal chunks",
        source="made up",
    )


def write_log(folder: Path, frame: pd.DataFrame | None = None) -> PreparedDataset:
    """Write the planted log, or a changed frame of it, as a prepared data set."""
    frame = log_frame() if frame is None else frame
    return write_prepared(folder, log_spec(), frame, {"item_his": item_histories(frame)})


SMALL: dict[str, Any] = {
    "model": "DeepFM",
    "embedding_dim": 4,
    "hidden_units": [16, 8],
    "hidden_activations": "relu",
    "net_dropout": 0,
    "batch_norm": False,
    "embedding_regularizer": None,
    "net_regularizer": None,
    "learning_rate": 2.0e-2,
    "batch_size": 16,
    "verbose": 0,
}
LOOPFM: dict[str, Any] = {
    "loopfm_teacher": TEACHER,
    "loopfm_teacher_config": None,
    "loopfm_kd": "none",
    "loopfm_history": None,
    "loopfm_taps": "hidden_0",
    "loopfm_dim": 4,
    "loopfm_compressor_hidden": 16,
    "loopfm_codec": "int8",
    "loopfm_encoder": "din",
    "loopfm_encoder_dim": 8,
    "loopfm_encoder_heads": 2,
    "loopfm_max_len": 8,
}


def write_configs(
    folder: Path,
    root: Path,
    prepared: Path,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    **teacher_params: Any,
) -> Path:
    """A configuration folder with a small teacher and one expid per method.

    Args:
        folder: where to write.
        root: holds ``data`` and ``checkpoints`` of the runs.
        prepared: the prepared data set.
        others: further teachers: what each expid has beyond the first teacher's.
        teacher_params: what the teacher's expid has beyond the usual.
    """
    where = Location(str(root / "data"), str(prepared), None, None)
    spec = log_spec()
    shared = {**COMMON, **SMALL, "model_root": str(root / "checkpoints")}
    teacher = {"dataset_id": TEACHER_DATASET, "shuffle": True, "epochs": 4, "batch_size": 32}
    sections: dict[str, Any] = {"Base": BASE, TEACHER: {**shared, **teacher, **teacher_params}}
    for method in (name for name in DEFAULT_METHODS if name != BOARD_TEACHER):
        keys = METHODS[method].keys
        sections[method_slug(method)] = {**shared, "dataset_id": DATASET, **LOOPFM, **keys}
    sections |= {name: {**sections[TEACHER], **changes} for name, changes in (others or {}).items()}
    datasets = {
        DATASET: dataset_config(spec, "vertical", where),
        TEACHER_DATASET: dataset_config(spec, "teacher", where),
    }
    folder.mkdir(parents=True)
    for name, value in (("model_config", sections), ("dataset_config", datasets)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
    return folder


def load(config: Path, expid: str, **overrides: Any) -> tuple[Experiment, Workspace]:
    """An experiment of a written configuration and a workspace of its own."""
    experiment = Experiment.load(
        config, expid, base_dir=config, zoo=DEEPFM_ZOO, overrides=overrides or None
    )
    return experiment, Workspace(experiment, experiment.load_teacher())
