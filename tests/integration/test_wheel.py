"""A FuxiCTR project of somebody else's, beside an installed wheel and without a checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
from planted import log_frame

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROJECT = Path(__file__).parent / "own_project"
EVENTS_A_DAY = 400
ALONE = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed; it sees nothing of this checkout."""
    done = subprocess.run(command, cwd=cwd, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment with the wheel and this one's libraries."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("fuxictr_loopfm", "model_zoo", "data_prep"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, ".",
        cwd=source)  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    run(*pip, "--python", environment / "bin" / "python", "install", "--no-deps", "--no-index",
        wheel, cwd=folder)  # fmt: skip
    (site,) = environment.glob("lib/python*/site-packages")
    assert {path.name for path in site.iterdir()} == {
        "fuxictr_loopfm",
        f"{wheel.name.rpartition('-py3')[0]}.dist-info",
    }, "the wheel installs the package and nothing beside it"
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example project with a log of its own: five days, two of them the teacher's."""
    folder = tmp_path_factory.mktemp("somewhere") / "my_project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    frame = log_frame().drop(columns=["period"])
    day = frame.index // EVENTS_A_DAY
    frame["timestamp"] = 1_600_041_600 + day * 86_400 + frame.index % EVENTS_A_DAY * 60
    frame.to_csv(folder / "log.csv", index=False)
    return folder


def record_of(project: Path, expid: str) -> dict[str, Any]:
    path = project / "records" / "config" / f"{expid}-seed2019.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_project_of_its_own_runs_with_the_wheel_alone(installed: Path, project: Path) -> None:
    where = run(installed / "python", "-c", "import fuxictr_loopfm as f; print(f.__file__)",
                cwd=project)  # fmt: skip
    assert Path(where.strip()).is_relative_to(installed.parent)
    options = ("--config", "config", "--expid", "my_model_kd_loopfm")
    run(installed / "python", "run_expid.py", *options, cwd=project)
    record = record_of(project, "my_model_kd_loopfm")
    assert (record["model"], record["method"]) == ("MyModel", "KD+LoopFM")
    assert record["metrics"]["AUC"] > 0.6
    assert record["encoder"] == "newest", "an encoder that the project's src registers"
    assert record["repeat"]["zoo"] == record["repeat"]["teacher"]["zoo"] == "given"
    assert (project / "config.csv").read_text().count("[exp_id] my_model_kd_loopfm") == 1

    loopfm = installed / "loopfm"
    (store,) = (project / "data" / "artifacts" / "Own_s1").glob("store-*")
    assert "1200 events logged" in run(loopfm, "extract", *options, cwd=project)
    elsewhere = ("--config", project / "config", *options[2:])
    described = run(loopfm, "structure", *elsewhere, cwd=project.parent)
    assert run(loopfm, "inspect", store, cwd=project) == described
    prepared = project / "prepared" / "Own_s1"
    assert "of every event agree" in run(loopfm, "verify", store, "--prepared", prepared,
                                         cwd=project)  # fmt: skip
    written = run(loopfm, "export", *options, "--out", "exported", cwd=project).split()
    assert [Path(line).name for line in written] == [
        "train.npz", "train.parquet", "test.npz", "test.parquet", "feature_map.json"
    ]  # fmt: skip
    again = run(loopfm, "rerun", "records/config/my_model_kd_loopfm-seed2019.json",
                "--zoo", ".", "--data", prepared, cwd=project)  # fmt: skip
    assert "equal to the last bit" in again


def test_what_needs_a_checkout_says_so(installed: Path, project: Path) -> None:
    command = [installed / "loopfm", "benchmark", "--dataset", "MovieLens100K_s1"]
    done = subprocess.run(command, cwd=project, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: expected to run inside a fuxictr_loopfm checkout" in done.stderr
