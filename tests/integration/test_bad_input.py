"""A user's mistake: one message that says what to do, exit code 1, nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Loop, new_loop
from planted import DATASET, log_frame, write_log

from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.runs import run_expid

Message = Callable[..., str]


@pytest.fixture
def error_of(capsys: pytest.CaptureFixture[str], zoo: Path) -> Message:
    """The one message of a failing run of an expid."""

    def run(loop: Loop, expid: str = "loopfm") -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            arguments = ["--config", str(loop.config), "--expid", expid]
            run_expid.main(str(zoo / "run_expid.py"), arguments)
        shown = capsys.readouterr().err
        message = shown[shown.index("error: ") :]
        assert stopped.value.code == 1
        assert "Traceback" not in shown and shown.count("error: ") == 1
        assert sorted(p.name for p in zoo.iterdir()) == ["DeepFM", "run_expid.py"], "no results"
        assert not list(loop.root.rglob(".loopfm-tmp-*"))
        return message

    return run


@pytest.fixture
def mistaken(loop: Loop, tmp_path: Path) -> Loop:
    """A configuration to spoil, on the artifacts of the module."""
    config = tmp_path / "configs"
    shutil.copytree(loop.config, config)
    return Loop(loop.root, config, loop.prepared)


def edit(loop: Loop, kind: str, section: str, **changes: Any) -> None:
    """Change keys of a section of ``model_config`` or ``dataset_config``."""
    path = loop.config / f"{kind}.yaml"
    value = yaml.safe_load(path.read_text())
    value[section].update(changes)
    path.write_text(yaml.safe_dump(value))


def test_a_column_that_only_the_teacher_may_see(mistaken: Loop, error_of: Message) -> None:
    columns = [{"name": ["user_id", "segment"], "dtype": "str", "type": "categorical"}]
    edit(mistaken, "dataset_config", DATASET, feature_cols=columns)
    message = error_of(mistaken, "base")
    assert "segment: the vertical view of " in message and "'user_id'" in message
    edit(mistaken, "dataset_config", DATASET, feature_cols=columns[:1])
    columns[0]["name"] = ["user_id"]
    edit(mistaken, "dataset_config", DATASET, feature_cols=columns)
    assert "expected a feature of type loopfm_sequence" in error_of(mistaken)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, planted_log: PreparedDataset) -> Path:
    """Finished artifacts of ``loopfm`` to break copies of."""
    finished = new_loop(tmp_path_factory.mktemp("built"), planted_log)
    finished.run("loopfm")
    return finished.root


def with_artifacts(loop: Loop, built: Path) -> Loop:
    shutil.copytree(built / "data", loop.root / "data")
    return loop


def foreign(loop: Loop, tmp_path: Path) -> Loop:
    """The same runs on another log."""
    frame = log_frame(seed=8)
    other = new_loop(tmp_path / "foreign", write_log(tmp_path / "foreign" / "prepared", frame))
    other.run("loopfm")
    return other


@pytest.mark.parametrize("kind", ["store", "extraction"])
def test_artifacts_of_another_data_set(
    own_loop: Loop, built: Path, error_of: Message, tmp_path: Path, kind: str
) -> None:
    (mine,) = with_artifacts(own_loop, built).folders(kind)
    (theirs,) = foreign(own_loop, tmp_path).folders(kind)
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    if kind == "extraction":
        shutil.rmtree(own_loop.folders("store")[0])
    message = error_of(own_loop)
    assert str(mine) in message and "expected" in message and "found" in message
