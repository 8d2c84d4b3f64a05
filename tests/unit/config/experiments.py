"""A small experiment for tests: enough params to be read, a model that is never imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.experiment import Experiment

PARAMS: dict[str, Any] = {
    "model": "DeepFM",
    "model_id": "DeepFM_test",
    "model_root": "checkpoints",
    "data_root": "data",
    "dataset_id": "d",
    "feature_cols": [
        {"name": ["user", "item"], "active": True, "dtype": "str", "type": "categorical"},
        {"name": "old", "active": False, "dtype": "str", "type": "categorical"},
    ],
    "label_col": {"name": "click", "dtype": "float"},
    "batch_size": 16,
    "seed": 0,
    "metrics": ["AUC"],
}


def experiment_of(zoo: Path = Path("here"), **changes: Any) -> Experiment:
    """The experiment of ``PARAMS`` with changes; its folders are named ``here``."""
    here = Path("here")
    return Experiment.from_params(
        {**PARAMS, **changes}, "test", base_dir=here, zoo=zoo, config_dir=here
    )
