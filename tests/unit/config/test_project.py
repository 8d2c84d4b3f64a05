"""Where an experiment's models and paths are, told by the layout of folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.project import Project
from fuxictr_loopfm.config.zoo import find_model, load_model_class
from fuxictr_loopfm.errors import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """``my_project`` with a script, a configuration folder and two models in its ``src``."""
    folder = tmp_path / "my_project"
    (folder / "config" / "tuner_01").mkdir(parents=True)
    (folder / "src").mkdir()
    (folder / "run_expid.py").touch()
    (folder / "src" / "__init__.py").write_text("from .models import Deep, Wide\n")
    (folder / "src" / "models.py").write_text("class Deep: pass\nclass Wide: pass\n")
    return folder


def no_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkout, "find_if_any", classmethod(lambda _: None))


def test_a_project_of_its_own_is_its_own_zoo(project: Path) -> None:
    found = Project.of_script(project / "run_loopfm.py")
    assert (found.base_dir, found.zoo) == (project, project)


@pytest.mark.parametrize(
    ("script", "base_dir"), [("DIN/run_expid.py", "DIN"), ("run_expid.py", "any")]
)
def test_scripts_of_a_model_zoo_share_its_models(script: str, base_dir: str) -> None:
    zoo = ROOT / "model_zoo"
    found = Project.of_script(zoo / script)
    assert (found.base_dir, found.zoo) == (zoo / base_dir, zoo)


@pytest.mark.parametrize("config", ["config", "config/tuner_01", "config/not_there"])
def test_a_configuration_belongs_to_the_script_above_it(project: Path, config: str) -> None:
    assert Project.of_config(project / config) == Project.of_script(project / "run_expid.py")


def test_other_configurations_belong_to_the_checkout(tmp_path: Path) -> None:
    assert Project.of_config(tmp_path).zoo == ROOT / "model_zoo"


def test_without_a_checkout_they_belong_to_the_current_folder(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_checkout(monkeypatch)
    monkeypatch.chdir(project)
    assert Project.of_config(tmp_path / "elsewhere") == Project(project, project)


def test_an_installed_fuxictr_makes_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wheel puts a ``model_zoo`` into site-packages, beside our package."""
    module = tmp_path / "fuxictr_loopfm" / "config" / "checkout.py"
    monkeypatch.setattr("fuxictr_loopfm.config.checkout.__file__", str(module))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_zoo").mkdir()
    assert Checkout.find_if_any() is None
    with pytest.raises(ConfigError, match="expected to run inside a fuxictr_loopfm checkout"):
        Checkout.find()


def test_the_src_of_a_project_has_all_its_models(project: Path) -> None:
    assert find_model("Deep", [project]) == find_model("Wide", [project]) == project / "src"
    assert load_model_class("Wide", [project])[0].__name__ == "Wide"
    with pytest.raises(
        ConfigError, match=r"model 'Weep' is in none of them .did you mean 'Deep'\?"
    ):
        find_model("Weep", [project])


def test_src_is_imported_before_the_configuration_is_read(project: Path) -> None:
    (project / "src" / "__init__.py").write_text("raise RuntimeError('here I am')\n")
    with pytest.raises(ConfigError, match="importing the model failed: RuntimeError: here I am"):
        Project.of_script(project / "run_expid.py").load(project / "config", "expid")
