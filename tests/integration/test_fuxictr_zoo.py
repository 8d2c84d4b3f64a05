"""A whole zoo of models that we do not own: each trains, or says in one line why it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from planted import DEEPFM_ZOO, MAX_LEN, item_histories, log_frame, log_spec

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.prepared.dataset import PreparedDataset, SequenceColumn, write_prepared
from tests.zoo.run_fuxictr_zoo import Trained, to_markdown, train_zoo

STAND_INS = Path(__file__).parents[1] / "zoo"
MODELS = ("BehaviourReader", "DINLike", "FirstOrder", "Vanishing", "Stacked", "OwnTables")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """The planted log, whose sequence only the teacher has."""
    spec = replace(log_spec(), sequences=(SequenceColumn("item_his", "item_id", MAX_LEN),))
    frame = log_frame()
    folder = tmp_path_factory.mktemp("zoo") / "prepared"
    return write_prepared(folder, spec, frame, {"item_his": item_histories(frame)})


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    root = tmp_path_factory.mktemp("checkout")
    (root / "model_zoo").mkdir()
    (root / "data_prep").mkdir()
    for name in ("DIN", "DMIN"):
        (root / "model_zoo" / name).symlink_to(DEEPFM_ZOO / name)
    return Checkout(root)


@pytest.fixture(scope="module")
def rows(checkout: Checkout, prepared: PreparedDataset) -> dict[str, Trained]:
    out = checkout.root / "runs"
    found = train_zoo(checkout, prepared, STAND_INS, MODELS, out, teacher="DIN")
    assert [row.model for row in found] == list(MODELS)
    return {row.model: row for row in found}


def test_a_model_that_needs_a_sequence_gets_the_teachers(
    checkout: Checkout, rows: dict[str, Trained]
) -> None:
    row = rows["BehaviourReader"]
    assert row.reason == "" and set(row.records) == {"base", "KD+LoopFM"}
    config = row.records["base"].config
    assert config["target_item_field"] == ["item_id"]
    assert config["sequence_item_field"] == ["item_his"]
    assert config["reader_neg_seq_field"] == [] and config["loopfm_own_sequences"] is True
    assert "reads the teacher's sequences" in row.cells()[-1]
    folder = checkout.root / "runs" / "configs" / "BehaviourReader_Planted_s1"
    text = (folder / "dataset_config.yaml").read_text()
    assert "# BehaviourReader also reads the teacher's sequences: item_his (of item_id)." in text
    (view,) = yaml.safe_load(text).values()
    assert view["loopfm_own_sequences"] is True and view["loopfm_view"] == "vertical"


def test_a_model_without_such_a_need_keeps_its_view(rows: dict[str, Trained]) -> None:
    config = rows["Stacked"].records["base"].config
    assert "loopfm_own_sequences" not in config
    assert "item_his" not in [column["name"] for column in config["feature_cols"]]


def test_a_first_order_model_takes_a_mean_history(rows: dict[str, Trained]) -> None:
    base, both = (rows["FirstOrder"].records[m] for m in ("base", "KD+LoopFM"))
    assert base.params < both.params and base.metrics["logloss"] != both.metrics["logloss"]


def test_a_constant_prediction_is_warned_of_in_record_and_table(rows: dict[str, Trained]) -> None:
    row = rows["Vanishing"]
    for record in row.records.values():
        (warning,) = record.warnings
        assert warning.startswith("the prediction is constant (standard deviation")
    assert "base: the prediction is constant" in row.cells()[-1]
    others = rows["Stacked"].records["base"].warnings
    assert not any("constant" in text for text in others)


def test_a_model_that_cannot_run_says_why(rows: dict[str, Trained]) -> None:
    row = rows["OwnTables"]
    assert set(row.records) == {"base"} and row.explained
    assert "model OwnTables cannot take a history field: its constructor" in row.reason
    table = to_markdown(list(rows.values()))
    assert table.startswith("5 of 6 models trained with base and KD+LoopFM.")
    assert f"| OwnTables | {row.records['base'].metrics['AUC']:.4f} | - |" in table
