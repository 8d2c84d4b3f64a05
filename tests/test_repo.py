"""The checkout as a whole: what no file may say, configurations that load, packaging, Makefile."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml

import fuxictr_loopfm
from fuxictr_loopfm.commands.cli import main
from fuxictr_loopfm.config.folders import read_yaml

ROOT = Path(__file__).resolve().parents[1]

# Spelled in pieces, so that this file passes its own check.
_PATHS = ["/" + "work/", "/" + "tmp/env", "/" + "tmp/fx", "/" + "opt/", "/" + "root/"]
_HOSTS = ["pypi" + ".org", "python" + "hosted.org", "download.py" + "torch.org"]
_TOOLS = ["cl" + "aude", "anth" + "ropic", "chat" + "gpt", "co" + "pilot"]
FORBIDDEN = re.compile(
    "|".join(
        [
            *(rf"(?<![\w.]){re.escape(path)}" for path in _PATHS),
            re.escape(".." + "/shared"),
            *(re.escape(host) for host in _HOSTS),
            *(rf"\b{tool}\b" for tool in _TOOLS),
        ]
    ),
    flags=re.IGNORECASE,
)


def repository_texts() -> Iterator[tuple[str, str]]:
    """(path, text) of every text file that a commit would hold."""
    command = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue


def forbidden_words(text: str) -> list[str]:
    """The lines, with their numbers, that tie the text to one machine or to how it was made."""
    return [
        f"{number}: {line.strip()[:100]}"
        for number, line in enumerate(text.splitlines(), start=1)
        if FORBIDDEN.search(line)
    ]


def test_nothing_names_a_machine_a_registry_or_a_tool() -> None:
    found = {path: lines for path, text in repository_texts() if (lines := forbidden_words(text))}
    assert found == {}


@pytest.mark.parametrize("word", [*_PATHS, ".." + "/shared", *_HOSTS, *_TOOLS])
def test_the_word_check_sees_each_word(word: str) -> None:
    assert forbidden_words(f"fine\nlook at {word.upper()} now") != []
    assert forbidden_words(f"docs{_PATHS[0]}item, the shared table, a framework") == []


def yaml_files() -> list[Path]:
    """Every YAML that a reader may run or copy."""
    folders = ("benchmark_configs", "model_zoo", "data_prep")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.yaml"))]


def repeated_keys(node: yaml.Node) -> list[str]:
    """Keys given twice in one mapping; YAML readers keep the last without a word."""
    if isinstance(node, yaml.SequenceNode):
        return [key for child in node.value for key in repeated_keys(child)]
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    inner = [key for _, child in node.value for key in repeated_keys(child)]
    return inner + [key for key in dict.fromkeys(keys) if keys.count(key) > 1 and key != "<<"]


def test_there_are_configurations() -> None:
    assert any(path.is_relative_to(ROOT / "benchmark_configs") for path in yaml_files())


@pytest.mark.parametrize("path", yaml_files(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_yaml_loads_safely(path: Path) -> None:
    assert read_yaml(path)
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    assert node is not None
    assert repeated_keys(node) == []


def test_a_repeated_key_is_seen() -> None:
    node = yaml.compose("a: 1\nb: [{c: 1, d: 2, c: 3}]\n", Loader=yaml.SafeLoader)
    assert node is not None
    assert repeated_keys(node) == ["c"]


def test_test_modules_have_names_of_their_own() -> None:
    """pytest puts every test folder on the path, so a second helper of one name is never found."""
    usual = ("conftest.py", "__init__.py", "__main__.py")
    names = [p.name for p in (ROOT / "tests").rglob("*.py") if p.name not in usual]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


@pytest.fixture(name="packaging")
def fixture_packaging(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments with which ``setup.py`` calls ``setup``."""
    arguments: dict[str, Any] = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", lambda **given: arguments.update(given))
    runpy.run_path(str(ROOT / "setup.py"))
    return arguments


def test_setup_packages_fuxictr_loopfm_only(packaging: dict[str, Any]) -> None:
    folders = {path.parent for path in (ROOT / "fuxictr_loopfm").rglob("*.py")}
    wanted = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(packaging["packages"]) == wanted
    assert "py_modules" not in packaging


def test_setup_names_the_version_and_the_command(packaging: dict[str, Any]) -> None:
    assert packaging["version"] == fuxictr_loopfm.__version__
    assert packaging["entry_points"]["console_scripts"] == [
        f"loopfm = {main.__module__}:{main.__name__}"
    ]


def project_name(requirement: str) -> str:
    """``Types_PyYAML>=6; marker`` is ``types-pyyaml``."""
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def test_constraints_pin_every_direct_dependency(packaging: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if "==" not in line] == []
    extras = packaging["extras_require"]
    direct = [*packaging["install_requires"], *extras["test"], *extras["dev"], "pip", "setuptools"]
    assert {project_name(name) for name in direct} <= {project_name(line) for line in pins}


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make without what an outer make hands down."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    outer = (
        "MAKE",
        "MFLAGS",
        "ARGS",
        "DATA",
        "MODELS",
        "METHODS",
        "SEEDS",
        "JOBS",
        "OUT",
        "ZOO",
        "GPU",
    )
    clean = {n: v for n, v in os.environ.items() if not n.startswith(outer) and n != "DEV"}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=clean, capture_output=True, text=True, check=False
    )


def test_make_alone_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)
    assert phony is not None
    shown = make().stdout
    for target in set(phony.group(1).split()) - {"dataset-given"}:
        assert re.search(rf"^  make {target} +\S", shown, flags=re.MULTILINE), target


def last_command(*arguments: str) -> str:
    done = make("-n", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].strip()


def test_benchmark_hands_on_what_is_given() -> None:
    given = ("DATASET=X_s1", "DATA=my raw data", "MODELS=DeepFM DeepFM:small", "SEEDS=2", "GPU=-1")
    assert last_command("benchmark", *given, "METHODS=base KD+LoopFM", "JOBS=2", "DEV=1") == (
        '.venv/bin/loopfm benchmark --dataset X_s1 --data "my raw data" --models DeepFM '
        "DeepFM:small --methods base KD+LoopFM --seeds 2 --jobs 2 --gpu -1 --dev"
    )
    assert last_command("benchmark", "DATASET=X_s1") == ".venv/bin/loopfm benchmark --dataset X_s1"


def test_benchmark_without_a_data_set_says_so_before_it_installs() -> None:
    done = make("-n", "benchmark")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "DATASET is missing" in done.stderr
    assert len(done.stderr.splitlines()) == 1
