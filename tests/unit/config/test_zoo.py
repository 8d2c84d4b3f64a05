"""Model classes out of folders that we do not own."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuxictr_loopfm.config.zoo import default_hyper_parameters, find_model, load_model_class
from fuxictr_loopfm.errors import ConfigError

ROOT = Path(__file__).parents[3]
OURS, STAND_INS = ROOT / "model_zoo", ROOT / "tests" / "zoo"


def write_model(zoo: Path, model: str, body: str, package: str = "src") -> Path:
    folder = zoo / model / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(body, encoding="utf-8")
    return folder


def test_both_layouts_of_fuxictr_are_found() -> None:
    assert find_model("Stacked", [STAND_INS]) == STAND_INS / "Stacked" / "src"
    expected = STAND_INS / "DINLike" / "DINLike_torch" / "src"
    assert find_model("DINLike", [STAND_INS]) == expected
    assert load_model_class("DINLike", [STAND_INS])[0].__name__ == "DINLike"


def test_the_first_zoo_with_the_model_wins(tmp_path: Path) -> None:
    write_model(tmp_path, "DeepFM", "class DeepFM: pass")
    assert find_model("DeepFM", [tmp_path, OURS]) == tmp_path / "DeepFM" / "src"
    assert find_model("DeepFM", [OURS, tmp_path]) == OURS / "DeepFM" / "src"
    assert find_model("DIN", [tmp_path, OURS]) == OURS / "DIN" / "src"


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"model 'DeepFN' is in none of .*did you mean 'DeepFM'\?"
    ):
        find_model("DeepFN", [STAND_INS, OURS])
    with pytest.raises(ConfigError, match="found .*'Flattened', 'OwnTables'"):
        find_model("zzzz", [STAND_INS])


def test_a_zoo_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loopfm_model_zoo: .*nowhere is no folder"):
        find_model("DeepFM", [tmp_path / "nowhere", OURS])


def test_a_folder_without_a_package_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "DeepFM" / "src").mkdir(parents=True)
    assert find_model("DeepFM", [tmp_path, OURS]) == OURS / "DeepFM" / "src"


def test_packages_of_one_name_do_not_mix(tmp_path: Path) -> None:
    for zoo in ("a", "b"):
        folder = write_model(tmp_path / zoo, "M", "from .part import VALUE\nclass M: value = VALUE")
        (folder / "part.py").write_text(f"VALUE = {zoo!r}")
    first, folder = load_model_class("M", [tmp_path / "a"])
    second, _ = load_model_class("M", [tmp_path / "b"])
    assert (first.value, second.value) == ("a", "b")
    assert folder == tmp_path / "a" / "M" / "src"
    assert load_model_class("M", [tmp_path / "a"])[0] is first


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import a_library_nobody_has", "ModuleNotFoundError: .*a_library_nobody_has"),
        ("class M(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_failing_import_is_one_error(tmp_path: Path, body: str, message: str) -> None:
    write_model(tmp_path, "M", body)
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"M.src: importing the model failed: {message}"):
            load_model_class("M", [tmp_path])


@pytest.mark.parametrize("body", ["", "M = 3", "class N: pass"])
def test_a_package_without_the_class_is_refused(tmp_path: Path, body: str) -> None:
    write_model(tmp_path, "M", body)
    with pytest.raises(ConfigError, match="expected a class M, found none"):
        load_model_class("M", [tmp_path])


def test_hyper_parameters_come_from_the_models_own_entry(tmp_path: Path) -> None:
    assert default_hyper_parameters("DINLike", [STAND_INS])["attention_units"] == 8
    assert default_hyper_parameters("DeepFM", [OURS])["hidden_units"] == [128, 64]
    write_model(tmp_path, "Bare", "class Bare: pass")
    assert default_hyper_parameters("Bare", [tmp_path]) == {}
    (tmp_path / "Bare" / "config").mkdir()
    config = tmp_path / "Bare" / "config" / "model_config.yaml"
    config.write_text("Bare_test: {a: 1}\nBare_default:")
    assert default_hyper_parameters("Bare", [tmp_path]) == {}
    config.write_text("Bare_default: {a: [1")
    with pytest.raises(ConfigError, match=r"model_config\.yaml: is not plain YAML"):
        default_hyper_parameters("Bare", [tmp_path])
