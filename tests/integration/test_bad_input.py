"""A user's mistake: one message that says what to do, exit code 1, nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Loop, new_loop
from planted import DATASET, TEACHER_DATASET, log_frame, write_log

from fuxictr_loopfm.commands.cli import main
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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"loopfm_encodr": "din"}, "unknown key loopfm_encodr (did you mean 'loopfm_encoder'?)"),
        ({"model": "DeepFN"}, "model 'DeepFN' is in none of"),
        ({"model": None}, "loopfm: expected a key model, found none"),
        ({"loopfm_teacher": "teachr"}, "expid 'teachr' is not defined (did you mean 'teacher'?)"),
        ({"loopfm_teacher": "base"}, "base: loopfm_view: expected 'teacher'"),
        ({"loopfm_teacher_config": "/nowhere"}, "/nowhere: expected model_config.yaml"),
        ({"loopfm_taps": "hiden_0"}, "hiden_0"),
        ({"loopfm_key": "usr_id"}, "usr_id"),
        ({"loopfm_event_filter": "genre ="}, "expected 'column operator value'"),
        ({"loopfm_event_filter": "genr == g0"}, "found 'genr' (did you mean 'genre'?)"),
        ({"loopfm_event_filter": "genre == jazz"}, "found 'genre == jazz', which none does"),
        ({"loopfm_query_columns": "item"}, "'item': expected a categorical feature"),
        ({"loopfm_query_columns": "price"}, "expected a categorical feature"),
        ({"loopfm_history": "ids", "loopfm_id_columns": "segment"}, "'segment': expected a "),
        ({"embedding_dim": "wide"}, "embedding_dim: expected a whole number, found 'wide'"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, found 0"),
        ({"optimizer": "adan"}, "adan"),
        (
            {"loopfm_kd": "aux_head", "loopfm_kd_trunk": "dnn"},
            "'dnn' is no module",
        ),
        ({"hidden_units": "many"}, "hidden_units: expected whole numbers such as"),
        ({"hidden_activations": "nope"}, "model DeepFM"),
    ],
)
def test_wrong_experiments(
    mistaken: Loop, error_of: Message, changes: dict[str, Any], expected: str
) -> None:
    edit(mistaken, "model_config", "loopfm", **changes)
    assert expected in error_of(mistaken)


@pytest.mark.parametrize(
    ("dataset", "changes", "expected"),
    [
        (
            DATASET,
            {"loopfm_prepared": "/nowhere/X_s1"},
            "a prepared data set in /nowhere/",
        ),
        (DATASET, {"label_col": {"name": "clik", "dtype": "float"}}, "clik: "),
        (DATASET, {"feature_cols": None}, "expected a key feature_cols, found none"),
        (DATASET, {"feature_cols": "user_id"}, "feature_cols: expected a list of columns"),
        (DATASET, {"feature_cols": [{"type": "meta"}]}, "expected a column with a name"),
        (DATASET, {"group_id": "user"}, "user: "),
        (TEACHER_DATASET, {"loopfm_view": "vertical"}, "loopfm_view: expected 'teacher'"),
    ],
)
def test_wrong_data_set_entries(
    mistaken: Loop, error_of: Message, dataset: str, changes: dict[str, Any], expected: str
) -> None:
    edit(mistaken, "dataset_config", dataset, **changes)
    assert expected in error_of(mistaken)


def test_a_column_that_only_the_teacher_may_see(mistaken: Loop, error_of: Message) -> None:
    columns = [{"name": ["user_id", "segment"], "dtype": "str", "type": "categorical"}]
    edit(mistaken, "dataset_config", DATASET, feature_cols=columns)
    message = error_of(mistaken, "base")
    assert "segment: the vertical view of " in message and "'user_id'" in message
    edit(mistaken, "dataset_config", DATASET, feature_cols=columns[:1])
    columns[0]["name"] = ["user_id"]
    edit(mistaken, "dataset_config", DATASET, feature_cols=columns)
    assert "expected a feature of type loopfm_sequence" in error_of(mistaken)


def own_data(loop: Loop) -> Path:
    """A copy of the prepared data that may be broken, used by the loop's configuration."""
    folder = loop.root / "prepared"
    shutil.copytree(loop.prepared.folder, folder)
    for name in (DATASET, TEACHER_DATASET):
        edit(loop, "dataset_config", name, loopfm_prepared=str(folder))
    return folder


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_text(old: str, new: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(path.read_text().replace(old, new)) and None


@pytest.mark.parametrize(
    ("name", "damage", "expected"),
    [
        ("events.parquet", truncate, "events.parquet"),
        ("events.parquet", Path.unlink, "events.parquet"),
        ("sequences.h5", truncate, "sequences.h5"),
        ("dataset.yaml", truncate, "dataset.yaml"),
        ("dataset.yaml", replace_text("version: 1", "version: 2"), "version: does not fit"),
        ("dataset.yaml", replace_text("label: click", "label: clik"), "label: does not fit"),
        ("dataset.yaml", replace_text("rows: 2000", "rows: 1999"), "rows: does not fit"),
    ],
)
def test_damaged_data_sets(
    own_loop: Loop, error_of: Message, name: str, damage: Callable[[Path], None], expected: str
) -> None:
    damage(own_data(own_loop) / name)
    assert expected in error_of(own_loop)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, planted_log: PreparedDataset) -> Path:
    """Finished artifacts of ``loopfm`` to break copies of."""
    finished = new_loop(tmp_path_factory.mktemp("built"), planted_log)
    finished.run("loopfm")
    return finished.root


def with_artifacts(loop: Loop, built: Path) -> Loop:
    shutil.copytree(built / "data", loop.root / "data")
    return loop


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("store-*/shard-00000.h5", "shard-00000.h5"),
        ("store-*/manifest.json", "manifest.json"),
        ("pointers/train-*.h5", "train-"),
        ("extraction-*/period-0004-0000.h5", "period-0004-0000.h5"),
        ("extraction-*/manifest.json", "manifest.json"),
    ],
)
def test_truncated_artifacts(
    own_loop: Loop, built: Path, error_of: Message, pattern: str, expected: str
) -> None:
    (path,) = with_artifacts(own_loop, built).artifacts.glob(pattern)
    truncate(path)
    assert expected in error_of(own_loop, "kd_loopfm")


@pytest.mark.parametrize("name", ["teacher.pt", "compressor.pt"])
def test_a_truncated_teacher(own_loop: Loop, built: Path, error_of: Message, name: str) -> None:
    """It is read again only where something is to be logged."""
    (folder,) = with_artifacts(own_loop, built).folders("teacher")
    shutil.rmtree(own_loop.folders("extraction")[0])
    truncate(folder / name)
    message = error_of(own_loop)
    assert name in message and "again" in message
    assert own_loop.folders("extraction") == []


def test_a_truncated_calibration(own_loop: Loop, built: Path, error_of: Message) -> None:
    (path,) = with_artifacts(own_loop, built).artifacts.glob("extraction-*/calibration.npy")
    shutil.rmtree(own_loop.folders("store")[0])
    truncate(path)
    assert "calibration.npy" in error_of(own_loop)
    assert own_loop.folders("store") == []


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


def test_verify_says_where_a_store_was_changed(
    own_loop: Loop, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store,) = with_artifacts(own_loop, built).folders("store")
    shard = store / "shard-00000.h5"
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(store), "--prepared", str(own_loop.prepared.folder)])
    assert stopped.value.code == 1
    assert "shard-00000.h5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["inspect", "nowhere"], "nowhere"),
        (["verify", "nowhere"], "nowhere"),
        (["leaderboard", "nowhere"], "nowhere: expected run records, found no such file"),
        (["extract", "--config", "nowhere", "--expid", "x"], "nowhere: expected model_config.yaml"),
        (["prepare", "--dataset", "MovieLens100K"], "did you mean 'MovieLens100K_s1'?"),
        (
            ["prepare", "--dataset", "KuaiRandPure_s1", "--data", "nowhere"],
            "DATA=nowhere: expected",
        ),
        (["benchmark", "--dataset", "X_s1", "--data", "nowhere"], "DATA=nowhere: expected"),
    ],
)
def test_the_command_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    shown = capsys.readouterr()
    assert stopped.value.code == 1 and shown.out == ""
    assert shown.err.startswith("error: ") and expected in shown.err
