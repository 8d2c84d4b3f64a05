"""An experiment carries its columns: one reading of ``feature_cols`` for every reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.errors import ConfigError

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


def experiment_of(**changes: Any) -> Experiment:
    here = Path("here")
    return Experiment.from_params(
        {**PARAMS, **changes}, "test", base_dir=here, zoo=here, config_dir=here
    )


def test_an_experiment_has_the_columns_of_its_params() -> None:
    experiment = experiment_of()
    assert experiment.columns.names() == ("user", "item")
    fewer = [{"name": "item", "dtype": "str", "type": "categorical"}]
    changed = replace(experiment, params={**experiment.params, "feature_cols": fewer})
    assert changed.columns.names() == ("item",)
    assert experiment.columns.names() == ("user", "item")


def test_columns_that_are_described_wrongly_are_refused_with_file_and_data_set() -> None:
    columns = [*PARAMS["feature_cols"], {"name": "surface", "active": 0, "dtype": "text"}]
    with pytest.raises(ConfigError) as caught:
        experiment_of(feature_cols=columns)
    first, second, *_, remedy = str(caught.value).split("\n")
    where = "here/dataset_config.yaml: d: feature_cols: surface"
    assert first == f"{where}: active: expected true or false, found 0"
    assert second.startswith(f"{where}: dtype: expected one of")
    assert remedy == "Change the columns there."
