"""An experiment carries its columns: one reading of ``feature_cols`` for every reader."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fuxictr_loopfm.errors import ConfigError
from tests.unit.config.experiments import PARAMS, experiment_of


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
