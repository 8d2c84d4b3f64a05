"""A teacher is another one as soon as any code that it computes with is, and not before."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fuxictr_loopfm.config import model_code
from fuxictr_loopfm.config.identity import source_identity
from fuxictr_loopfm.config.model_code import package_code

ROOT = Path(__file__).parents[3]
ZOO = ROOT / "model_zoo"
SEQUENCE_MODELS = ("DIN", "DIEN", "DMIN", "DMR")


def code_of(model: str) -> set[str]:
    return set(package_code((ZOO / model / "src").rglob("*.py")))


def identity_of(model: str, zoo: Path = ZOO) -> str:
    teacher: Any = SimpleNamespace(params={"model": model}, zoos=(zoo,))
    return source_identity(teacher)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that takes its place as source, not as code that runs."""
    copy = tmp_path / "fuxictr_loopfm"
    shutil.copytree(ROOT / "fuxictr_loopfm", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(model_code, "_PACKAGE", copy)
    return copy


def test_imports_are_followed_from_module_to_module() -> None:
    base = {"host.sequence_model", "layers.base", "layers.behaviours", "layers.groups"}
    # Reached through layers.base and layers.target_attention only.
    assert code_of("DMIN") == base | {
        "layers.target_attention",
        "layers.spans",
        "layers.packing",
    }
    assert code_of("FmFM") == code_of("DeepFM") == set()


@pytest.mark.parametrize("model", SEQUENCE_MODELS)
def test_shared_code_is_part_of_a_teachers_identity(package: Path, model: str) -> None:
    before, plain = identity_of(model), identity_of("DeepFM")
    for name in ("layers/history.py", "host/trainer.py", "errors.py"):
        (package / name).write_text((package / name).read_text() + "\n# new\n")
    assert identity_of(model) == before
    found = {before}
    for name in ("host/sequence_model.py", "layers/groups.py", "layers/spans.py"):
        (package / name).write_text((package / name).read_text() + "\n# new\n")
        found.add(identity_of(model))
    assert len(found) == 4
    assert identity_of("DeepFM") == plain


def test_identity_does_not_depend_on_where_the_code_lies(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ZOO / "DMIN" / "src", tmp_path / "DMIN" / "src")
    copied = identity_of("DMIN", tmp_path)
    monkeypatch.undo()
    assert identity_of("DMIN") == copied


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import fuxictr_loopfm.layers.spans as other", {"layers.spans"}),
        ("def f():\n    import fuxictr_loopfm.layers.spans", {"layers.spans"}),
        ("from fuxictr_loopfm.layers.base import zero_padding", {"layers.base", "layers.spans"}),
        ("from fuxictr_loopfm.errors import ConfigError\nimport torch.nn", set()),
        ("from . import spans\nfrom .layers import spans", set()),
        ("import fuxictr_loopfm.layers.absent", set()),
        ("no Python", set()),
    ],
)
def test_every_form_of_import_is_seen(tmp_path: Path, source: str, expected: set[str]) -> None:
    (tmp_path / "model.py").write_text(source)
    assert set(package_code([tmp_path / "model.py"])) == expected


def test_a_name_taken_from_a_folder_may_come_from_all_that_the_folder_imports(
    tmp_path: Path,
) -> None:
    (tmp_path / "model.py").write_text("from fuxictr_loopfm.layers import registry")
    found = set(package_code([tmp_path / "model.py"]))
    assert {"layers", "layers.target_attention", "layers.registry"} <= found


def test_the_zoos_models_compute_with_nothing_else_of_the_package() -> None:
    parts = ("layers.", "host.sequence_model", "errors")
    allowed = tuple(f"fuxictr_loopfm.{part}" for part in parts)
    for path in sorted(ZOO.glob("*/src/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            own = [name for name in names if name.startswith("fuxictr_loopfm")]
            assert all(name.startswith(allowed) for name in own), path
