"""Reading FuxiCTR's configuration folders: merging, paths, and messages that name the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuxictr_loopfm.config.folders import expids, load_params, read_yaml
from fuxictr_loopfm.errors import ConfigError

MODELS = """
Base:
    verbose: 1
    seed: 1
shared: &shared
    dataset_id: D_s1
    seed: 2
DeepFM_test:
    <<: *shared
    embedding_dim: 8
"""
DATASETS = """
D_s1:
    data_root: ../data
    train_data: null
    embedding_dim: 16
    loopfm_prepared: prepared/D_s1
"""


def folder(tmp_path: Path, models: str = MODELS, datasets: str = DATASETS) -> Path:
    (tmp_path / "model_config.yaml").write_text(models, encoding="utf-8")
    (tmp_path / "dataset_config.yaml").write_text(datasets, encoding="utf-8")
    return tmp_path


def message(config: Path, expid: str = "DeepFM_test") -> str:
    with pytest.raises(ConfigError) as caught:
        load_params(config, expid, config)
    return str(caught.value)


def test_base_then_expid_then_data_set(tmp_path: Path) -> None:
    base = tmp_path / "zoo" / "DeepFM"
    assert load_params(folder(tmp_path), "DeepFM_test", base) == {
        "verbose": 1,
        "seed": 2,
        "dataset_id": "D_s1",
        "model_id": "DeepFM_test",
        "embedding_dim": 16,
        "data_root": str(tmp_path / "zoo" / "data"),
        "train_data": None,
        "loopfm_prepared": str(base / "prepared" / "D_s1"),
    }


def test_the_home_folder_and_embedding_files_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    columns = "\n    feature_cols: [{name: a, pretrained_emb: ../a.h5}, {name: b}]"
    folder(tmp_path, MODELS, DATASETS.replace("../data", "~/data") + columns)
    params = load_params("", "DeepFM_test", tmp_path / "zoo" / "DeepFM")
    assert params["data_root"] == str(tmp_path / "home" / "data")
    embedding = str(tmp_path / "zoo" / "a.h5")
    assert params["feature_cols"] == [{"name": "a", "pretrained_emb": embedding}, {"name": "b"}]
    with pytest.raises(ConfigError, match="^~nobody-here/x: expected a path, or ~ for your home"):
        load_params("~nobody-here/x", "DeepFM_test", tmp_path)


def test_messages_show_the_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^{tmp_path / 'configs'}: expected model_config.yaml"):
        load_params("configs", "DeepFM_test", tmp_path)


def test_numbers_that_yaml_reads_to_another_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shared: seed: 010 is a number to base 8"):
        load_params(folder(tmp_path, MODELS.replace("seed: 2", "seed: 010")), "DeepFM_test", "")


def test_expids_in_file_order_without_base(tmp_path: Path) -> None:
    assert expids(folder(tmp_path)) == ["shared", "DeepFM_test"]


def test_configurations_may_be_folders_of_files(tmp_path: Path) -> None:
    for kind, text in (("model_config", MODELS), ("dataset_config", DATASETS)):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "model_config" / "b.yaml").write_text("other: {dataset_id: D_s1}")
    assert expids(tmp_path) == ["shared", "DeepFM_test", "other"]
    assert load_params(tmp_path, "other", tmp_path)["seed"] == 1


def test_fuxictr_reads_the_same(tmp_path: Path) -> None:
    from fuxictr.utils import load_config

    models = MODELS.replace("embedding_dim: 8", "units: [64, 32]\n    rate: 1.e-3\n    flag: True")
    config = folder(tmp_path, models, DATASETS.replace("prepared/D_s1", "/prepared/D_s1"))
    theirs = load_config(str(config), "DeepFM_test")
    ours = load_params(config, "DeepFM_test", tmp_path)
    assert {**ours, "data_root": "../data"} == theirs


def test_tuples_of_bars_configurations_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("field: !!python/tuple [[a, b], !!python/tuple [c]]")
    assert read_yaml(path) == {"field": (["a", "b"], ("c",))}


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.getcwd []",
        "a: !!python/name:os.system",
        "a: !!python/tuple {b: c}",
        "a: [1,",
        "a: b: c",
        "\tindented: by a tab",
    ],
)
def test_what_is_no_plain_yaml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"x\.yaml: is not plain YAML: "):
        read_yaml(path)


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("- a", "list"), ("a", "str")])
def test_files_must_hold_a_mapping(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(
        ConfigError, match=rf"x\.yaml: expected a mapping at the top, found {found}"
    ):
        read_yaml(path)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: expected a YAML file, found none"):
        read_yaml(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: is not UTF-8"):
        read_yaml(tmp_path / "latin.yaml")


@pytest.mark.parametrize("expid", ["DeepFM_tset", "Base"])
def test_an_unknown_expid_names_the_nearest(tmp_path: Path, expid: str) -> None:
    text = message(folder(tmp_path), expid)
    assert f"model_config.yaml: expid '{expid}' is not defined" in text
    assert ("did you mean 'DeepFM_test'?" if expid != "Base" else "Base") in text


@pytest.mark.parametrize(
    ("models", "datasets", "expected"),
    [
        (
            "x: {dataset_id: D_s2}",
            DATASETS,
            "dataset_config.yaml: dataset_id 'D_s2' is not defined",
        ),
        ("x: {seed: 1}", DATASETS, "model_config.yaml: x: expected a key dataset_id, found none"),
        ("x:", DATASETS, "model_config.yaml: x: expected a key dataset_id, found none"),
        ("x: [a]", DATASETS, "model_config.yaml: x: expected a mapping, found list"),
        ("Base: 3\nx: {dataset_id: D_s1}", DATASETS, "Base: expected a mapping, found int"),
        ("x: {dataset_id: [D_s1]}", DATASETS, "dataset_id \"['D_s1']\" is not defined"),
        ("x: {dataset_id: D_s1}", "D_s1: a", "D_s1: expected a mapping, found str"),
    ],
)
def test_broken_sections_are_named(
    tmp_path: Path, models: str, datasets: str, expected: str
) -> None:
    assert expected in message(folder(tmp_path, models, datasets), "x")


def test_an_empty_section_adds_nothing(tmp_path: Path) -> None:
    config = folder(tmp_path, "Base:\nx: {dataset_id: D_s1}", "D_s1:")
    assert load_params(config, "x", config) == {"dataset_id": "D_s1", "model_id": "x"}


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    assert "expected model_config.yaml or model_config/*.yaml, found neither" in message(tmp_path)
    (tmp_path / "model_config.yaml").write_text(MODELS)
    assert "expected dataset_config.yaml or dataset_config/*.yaml" in message(tmp_path)
