"""docs/security.md names each place where FuxiCTR runs text, and no key of ours gets there."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fuxictr
import pytest
from fuxictr import metrics
from fuxictr.preprocess import feature_processor
from fuxictr.pytorch import torch_utils
from fuxictr.pytorch.layers.embeddings import feature_embedding

from fuxictr_loopfm.data.evaluated import feature_problems, param_problems
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.host.model import read_feature_map
from fuxictr_loopfm.runs.vertical import run_vertical
from tests.integration.planted import load, write_configs, write_log

ROOT = Path(fuxictr.__file__).parent
DOC = Path(__file__).parents[3] / "docs" / "security.md"
CALLS = {
    *("eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "yaml.load"),
    *("torch.load", "np.load", "os.system", "subprocess.Popen", "subprocess.run", "h5py.File"),
    *("importlib.import_module", "joblib.load", "os.popen"),
}


def places(tree: ast.AST, function: str = "") -> Iterator[str]:
    """Functions that run text or files, or look up a name that is no literal."""
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else function
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            looked_up = name == "getattr" and not isinstance(node.args[1], ast.Constant)
            if name in CALLS or looked_up:
                yield inner
        yield from places(node, inner)


def test_the_doc_names_every_place_where_fuxictr_runs_text() -> None:
    rows = [line for line in DOC.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    found = 0
    for path in sorted(ROOT.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        assert "loopfm" not in source
        for function in places(ast.parse(source)):
            found += 1
            assert any(path.name in row and f"`{function}`" in row or f": {function}`" in row
                       for row in rows), f"{path.relative_to(ROOT)}: {function}"  # fmt: skip
    assert found >= 25


def test_none_of_our_keys_is_ever_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path / "prepared")
    configs = write_configs(tmp_path / "configs", tmp_path, tmp_path / "prepared")
    experiment, workspace = load(configs, "raw")
    evaluated: list[str] = []

    def noting(scope: dict[str, Any], text: str) -> Any:
        evaluated.append(text)
        return builtins.eval(text, scope)  # noqa: S307 what FuxiCTR would do

    for module in (metrics, feature_processor, torch_utils, feature_embedding):
        monkeypatch.setattr(module, "eval", partial(noting, vars(module)), raising=False)
    run_vertical(experiment, workspace, model_name="DeepFM", command="test")
    initializer = "partial(nn.init.normal_, std=1e-4)"
    assert {"str", "float"} <= set(evaluated)
    assert set(evaluated) <= {"str", "int", "float", initializer, "layers.MaskedAveragePooling()"}


TOUCH = "__import__('os').system('touch canary')"


@pytest.mark.parametrize(
    "text",
    [TOUCH, f"layers.X({TOUCH})", f"nn.Linear(*{TOUCH})", f"nn.Linear(**{TOUCH})", "nn.Linear",
     "layers.get_initializer('x')", "os.System('x')", "nn.modules.Os('x')", "nn.Linear(1)(2)", 3,
     "(lambda: nn.Linear)()", "nn.Linear(1", "[nn.Linear(1)]", "a\0b", "(" * 1000],
)  # fmt: skip
def test_a_feature_encoder_is_a_layer_with_plain_arguments(text: Any) -> None:
    assert feature_problems({"feature_encoder": text})
    assert feature_problems({"feature_encoder": ["nn.ReLU()", text]})


@pytest.mark.parametrize(
    "feature",
    [{}, {"feature_encoder": None}, {"feature_encoder": "layers.MaskedAveragePooling()"},
     {"feature_encoder": ["nn.Linear(64, 64, bias=False)"]}, {"preprocess": "copy_from(a)"}],
)  # fmt: skip
def test_what_configurations_use_passes(feature: dict[str, Any]) -> None:
    assert feature_problems(feature) == []


@pytest.mark.parametrize("text", ["load_pickle(x)", "save_vocab(x)", "__init__", "copy_from2(a)"])
def test_a_preprocess_function_is_copy_from(text: str) -> None:
    assert feature_problems({"preprocess": text})


@pytest.mark.parametrize(
    ("text", "fits"),
    [("partial(nn.init.normal_, std=1e-4)", True), ("nn.init.xavier_normal_", True),
     ("torch.nn.init.zeros_", True), ("partial(nn.init.uniform_, a=-0.1, b=0.1)", True),
     (TOUCH, False), (f"partial(nn.init.normal_, std={TOUCH})", False), ("nn.init.__dict__", False),
     (f"partial({TOUCH}, 1)", False), ("nn.Linear", False), ("lambda t: t", False)],
)  # fmt: skip
def test_an_initializer_is_one_of_torch(text: str, fits: bool) -> None:
    assert (param_problems({"embedding_initializer": text}) == []) is fits
    assert param_problems({"loss": text})


def test_a_feature_map_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "feature_map.json"
    path.write_text(
        '{"dataset_id": "d", "features": [{"a": {"type": "sequence", "source": "", "max_len": 3,'
        ' "feature_encoder": "__import__(\'os\')"}}]}'
    )
    with pytest.raises(DataError, match=r"feature_map\.json: a: feature_encoder: expected a layer"):
        read_feature_map(path, {"dataset_id": "d"})
