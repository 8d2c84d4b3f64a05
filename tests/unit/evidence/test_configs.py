"""Generated configurations: what is written reads back as what was meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fuxictr_loopfm.config.folders import expids, load_params
from fuxictr_loopfm.config.key_rules import read_keys
from fuxictr_loopfm.config.keys import default_values
from fuxictr_loopfm.config.sequence_fields import (
    padding_of,
    sequence_fields,
    unpooled,
)
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.evidence.benchmark.configs import (
    SIZES,
    Location,
    ModelName,
    dataset_config,
    folder_name,
    lists_dataset_id,
    model_block,
    teacher_dataset_id,
    write_vertical_config,
)
from fuxictr_loopfm.evidence.benchmark.teacher_config import fresh_keys, write_teacher_config
from fuxictr_loopfm.evidence.methods import METHODS, VERTICAL_METHODS, method_slug
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn
from fuxictr_loopfm.tuning.log_rule import LogRule

ROOT = Path(__file__).parents[3]
ZOOS = [ROOT / "tests" / "zoo", ROOT / "model_zoo"]
WHERE = Location("../../data", "../../data/prepared/X_s1", None, None)
SPEC = DatasetSpec(
    dataset_id="X_s1",
    label="click",
    user="user",
    item="item",
    time_unit="s",
    columns=(
        Column("user"),
        Column("age", dtype="int"),
        Column("item"),
        Column("price", "numeric", "float"),
        Column("secret", views=("teacher",)),
    ),
    sequences=(SequenceColumn("item_his", "item", 7),),
    item_columns=("item",),
    periods=Periods.split(4, 2),
    period_rule="days",
    source="made up",
)


def keys() -> dict[str, Any]:
    skipped = ("view", "own_sequences", "prepare", "prepared", "raw_data", "model_zoo")
    skipped += ("teacher", "teacher_config", "train_periods")
    return {k: v for k, v in default_values().items() if k.removeprefix("loopfm_") not in skipped}


def vertical(folder: Path, model: str = "DeepFM", spec: DatasetSpec = SPEC) -> Path:
    name = ModelName(model)
    write_vertical_config(folder, spec, WHERE, ZOOS, name, ("../teacher", "T"))
    return folder


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", VERTICAL_METHODS)
def test_each_expid_is_its_method(tmp_path: Path, size: str, method: str) -> None:
    config = vertical(tmp_path)
    prefix = "DeepFM_X_s1_small" if size else "DeepFM_X_s1"
    params = load_params(config, f"{prefix}_{method_slug(method)}", tmp_path / "zoo" / "DeepFM")
    found = read_keys(params, "written")
    assert found.method == method.removesuffix("-1") and (found.max_len == 1) is ("-1" in method)
    assert (params["dataset_id"], "item_his" in str(params["feature_cols"])) == (
        ("X_lists_s1", True) if METHODS[method].reads_lists else ("X_s1", False)
    )
    assert {name: params[name] for name in SIZES[size]} == SIZES[size]
    assert params["epochs"] == 1 and params["shuffle"] is False
    assert found.prepared == str(tmp_path / "data" / "prepared" / "X_s1")
    assert found.teacher == "T" and found.teacher_config == str(tmp_path / "zoo" / "teacher")


def test_merged_sections_equal_sections_written_out(tmp_path: Path) -> None:
    long_id = "A-very-long-data-set-id-that-fills-most-of-a-line-of-yaml-by-itself-and-more_s1"
    spec = DatasetSpec(**{**SPEC.__dict__, "dataset_id": long_id})
    config = vertical(tmp_path, spec=spec)
    text = (config / "model_config.yaml").read_text()
    assert text.count("<<: *") == 2 * len(VERTICAL_METHODS) - 1 and text.startswith(
        "# DeepFM on A-very"
    )
    sections = yaml.safe_load(text)
    shared = {**model_block("DeepFM", SIZES["small"], spec, "vertical", ZOOS)}
    for method in VERTICAL_METHODS:
        changes = METHODS[method].keys
        found = sections[f"DeepFM_{long_id}_small_{method_slug(method)}"]
        expected = {**shared, **keys(), "loopfm_kd": "none", "loopfm_history": None, **changes}
        lists = METHODS[method].reads_lists
        view_id = lists_dataset_id(long_id) if lists else long_id
        expected |= {"dataset_id": view_id, "loopfm_teacher": "T"}
        assert found == {**expected, "loopfm_teacher_config": "../teacher"}


def test_expids_come_in_the_order_of_sizes_and_methods(tmp_path: Path) -> None:
    slugs = [method_slug(method) for method in VERTICAL_METHODS]
    expected = [f"DeepFM_X_s1_{slug}" for slug in slugs]
    assert expids(vertical(tmp_path)) == [*expected, *(f"DeepFM_X_s1_small_{s}" for s in slugs)]


def test_every_key_that_a_tuner_may_sweep_is_listed(tmp_path: Path) -> None:
    params = load_params(vertical(tmp_path), "DeepFM_X_s1_base", tmp_path)
    for name in ("encoder", "max_len", "taps", "dim", "codec", "kd_weight", "delay_seconds"):
        assert f"loopfm_{name}" in params


def test_the_views_see_their_own_columns() -> None:
    teacher = dataset_config(SPEC, "teacher", WHERE)
    assert teacher["loopfm_view"] == "teacher" and teacher["label_col"]["name"] == "click"
    named = {str(c["name"]): c for c in teacher["feature_cols"]}
    names = ["['user', 'item', 'secret']", "['age']", "['price']", "item_his", "loopfm_history"]
    assert list(named) == names
    assert named["['age']"]["dtype"] == "int"
    assert named["['price']"]["normalizer"] == "StandardScaler"
    assert (named["item_his"]["share_embedding"], named["item_his"]["max_len"]) == ("item", 7)
    vertical_view = dataset_config(SPEC, "vertical", WHERE)["feature_cols"]
    names = [c["name"] for c in vertical_view]
    assert names == [["user", "item"], ["age"], ["price"], "loopfm_history"]
    assert vertical_view[-1]["type"] == "loopfm_sequence"


def test_a_teacher_with_sequence_fields_gets_those_of_the_data_set(tmp_path: Path) -> None:
    expid = write_teacher_config(tmp_path, SPEC, WHERE, ZOOS, "DINLike")
    assert expid == "DINLike_X_teacher_s1"
    params = load_params(tmp_path, expid, tmp_path)
    assert params["din_target_field"] == ["item"] and params["din_sequence_field"] == ["item_his"]
    assert params["dnn_hidden_units"] == [256, 128, 64] and params["attention_units"] == 8
    assert params["feature_specs"] == [{"name": "item_his", "feature_encoder": None}]
    assert params["shuffle"] is True and params["dataset_id"] == "X_teacher_s1"
    assert params["verbose"] == 1 and params["optimizer"] == "adam"


def test_a_teachers_settings_are_in_its_files(tmp_path: Path) -> None:
    chosen = {
        "min_categr_count": 5, "hidden_units": [64], "epochs": 1,
        "loopfm_history": "ids+label", "loopfm_checkpoint": "every_period",
    }  # fmt: skip
    expid = write_teacher_config(tmp_path, SPEC, WHERE, ZOOS, "DINLike", chosen)
    params = load_params(tmp_path, expid, tmp_path)
    assert params["min_categr_count"] == 5 and params["dnn_hidden_units"] == [64]
    assert read_keys(params, "written").columns == ("ids", "label")
    assert params["epochs"] == 1 and "hidden_units" not in params
    assert fresh_keys(tmp_path, expid, tmp_path) == {"loopfm_checkpoint": "every_period"}


def test_a_count_threshold_leaves_no_column_without_values(tmp_path: Path) -> None:
    rule = LogRule({"min_categr_count": 3}, {"user": 9, "age": 3, "item": 2, "secret": 1})
    view = dataset_config(SPEC, "teacher", WHERE, rule=rule)
    assert view["min_categr_count"] == 3
    own = {str(c["name"]): c.get("min_categr_count") for c in view["feature_cols"]}
    assert own == {
        "['user']": None, "['item', 'secret']": 1, "['age']": None, "['price']": None,
        "item_his": None, "loopfm_history": None,
    }  # fmt: skip
    name = ModelName("DeepFM")
    write_vertical_config(tmp_path, SPEC, WHERE, ZOOS, name, ("../teacher", "T"), rule=rule)
    assert load_params(tmp_path, "DeepFM_X_s1_base", tmp_path)["min_categr_count"] == 3


def test_a_model_whose_defaults_name_a_sequence_gets_the_teachers(tmp_path: Path) -> None:
    params = load_params(vertical(tmp_path, "DINLike"), "DINLike_X_s1_base", tmp_path)
    assert params["loopfm_own_sequences"] is True
    assert params["din_target_field"] == ["item"] and params["din_sequence_field"] == ["item_his"]
    assert params["feature_specs"] == [{"name": "item_his", "feature_encoder": None}]
    assert "item_his" in [column["name"] for column in params["feature_cols"]]
    text = (tmp_path / "dataset_config.yaml").read_text()
    assert "# DINLike also reads the teacher's sequences: item_his (of item)." in text


def test_a_model_without_one_gets_them_only_when_asked(tmp_path: Path) -> None:
    for model in ("DeepFM", "DIN"):  # our DIN runs without a sequence
        params = load_params(vertical(tmp_path / model, model), f"{model}_X_s1_base", tmp_path)
        assert "loopfm_own_sequences" not in params and params["feature_specs"] is None
    asked = tmp_path / "asked"
    write_vertical_config(
        asked, SPEC, WHERE, ZOOS, ModelName("DIN"), ("../teacher", "T"), own_sequences=True
    )
    params = load_params(asked, "DIN_X_s1_base", tmp_path)
    assert params["loopfm_own_sequences"] is True and params["din_sequence_field"] == ["item_his"]


def test_a_sequence_of_its_own_values_is_averaged(tmp_path: Path) -> None:
    marks = SequenceColumn("marks", None, 7)
    spec = replace(SPEC, sequences=(marks, *SPEC.sequences))
    entries = {str(c["name"]): c for c in dataset_config(spec, "teacher", WHERE)["feature_cols"]}
    assert "share_embedding" not in entries["marks"]
    assert entries["marks"]["feature_encoder"] == "layers.MaskedAveragePooling()"
    block = model_block("DINLike", SIZES[""], spec, "teacher", ZOOS)
    assert block["din_target_field"] == ["item"] and block["din_sequence_field"] == ["item_his"]
    assert block["feature_specs"] == [{"name": "item_his", "feature_encoder": None}]
    # A vertical model that reads sequences by their target gets both of the teacher's.
    seen = replace(marks, views=("teacher", "vertical"))
    for name, first in (("hidden", marks), ("seen", seen)):
        spec = replace(SPEC, sequences=(first, *SPEC.sequences))
        config = vertical(tmp_path / name, "DINLike", spec)
        params = load_params(config, "DINLike_X_s1_base", tmp_path)
        assert params["loopfm_own_sequences"] is True
        assert {"marks", "item_his"} <= {str(c["name"]) for c in params["feature_cols"]}
        assert params["din_sequence_field"] == ["item_his"]
    alone = replace(SPEC, sequences=(marks,))
    params = load_params(
        vertical(tmp_path / "alone", "DINLike", alone), "DINLike_X_s1_base", tmp_path
    )
    assert "loopfm_own_sequences" not in params


SEQUENCES = (SequenceColumn("item_his", "item", 7), SequenceColumn("cate_his", "cate", 7))


@pytest.mark.parametrize(
    ("key", "default", "value"),
    [
        ("bst_sequence_field", "click_sequence", ["item_his", "cate_his"]),
        ("short_target_field", ["a"], ["item", "cate"]),
        ("long_sequence_field", ["a"], ["item_his", "cate_his"]),
        ("sequence_item_field", "a", ["item_his", "cate_his"]),
        ("dien_neg_seq_field", [], []),
        ("neg_seq_field", None, None),
        ("neg_seq_field", ["neg_click_sequence"], None),
        ("context_field", ["hour"], None),
    ],
)
def test_fields_are_filled_by_what_their_keys_say(key: str, default: Any, value: Any) -> None:
    found = sequence_fields("M", {key: default, "attention_units": 8}, SEQUENCES)
    assert found == {key: value}


def test_models_that_need_their_sequences_in_another_form() -> None:
    fields = sequence_fields("TransAct", {"sequence_item_field": "a"}, SEQUENCES)
    assert fields == {"sequence_item_field": ["item_his"]}
    assert unpooled("TransAct", fields, SEQUENCES) == [
        {"name": "item_his", "feature_encoder": None}
    ]
    assert (padding_of("DIEN"), padding_of("DIN")) == ("post", "pre")


def test_our_own_teachers_are_filled_in_as_well() -> None:
    for model in ("DMIN", "DIN"):
        block = model_block(model, SIZES[""], SPEC, "teacher", ZOOS)
        filled = {k: v for k, v in block.items() if k.endswith(("target_field", "sequence_field"))}
        assert ["item"] in filled.values() and ["item_his"] in filled.values()


def test_a_models_own_defaults_stay_unless_size_or_protocol_say_otherwise() -> None:
    block = model_block("Flattened", SIZES["small"], SPEC, "vertical", ZOOS)
    assert block["model"] == "Flattened" and block["num_crosses"] == 2
    assert block["embedding_regularizer"] == 1.0e-6
    assert block["hidden_units"] == [32, 16] and block["embedding_dim"] == 4
    assert block["epochs"] == 1 and block["batch_size"] == 256 and block["seed"] == 2019
    assert "dataset_id" not in block


def test_names() -> None:
    assert ModelName.parse("DeepFM:small") == ModelName("DeepFM", "small")
    assert str(ModelName.parse("DeepFM:small")) == "DeepFM:small" and str(ModelName("A")) == "A"
    assert ModelName("DeepFM", "small").prefix("X_s1") == "DeepFM_X_s1_small"
    assert teacher_dataset_id("KuaiRandPure_s1") == "KuaiRandPure_teacher_s1"
    assert folder_name("DeepFM", "X_s1") == "DeepFM_X_s1"
    assert [method_slug(m) for m in ("base", "KD+LoopFM+label")] == ["base", "kd_loopfm_label"]


@pytest.mark.parametrize("text", ["DeepFM:tiny", "DeepFM:small:x"])
def test_an_unknown_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a size among \['small'\] after the colon"):
        ModelName.parse(text)
