"""FuxiCTR's autotuner over ``loopfm_*`` keys: real processes, artifacts built once."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Loop
from fuxictr import autotuner
from fuxictr.autotuner import load_experiment_ids
from planted import CHUNKS, item_histories, log_frame, log_spec

from fuxictr_loopfm.errors import ConfigError, LoopFMError
from fuxictr_loopfm.evidence.benchmark.sweep import sweep
from fuxictr_loopfm.prepared.dataset import Periods, write_prepared
from fuxictr_loopfm.runs import run_expid

ROOT = Path(__file__).parents[2]
SPACE = {"loopfm_encoder": ["mean", "din"], "loopfm_max_len": [4, 8]}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tuner's processes inherit; ``sweep`` itself changes PATH."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def write_tuner(path: Path, loop: Loop, space: dict[str, Any], **changes: Any) -> Path:
    tuner = {"base_config": str(loop.config), "base_expid": "loopfm", "tuner_space": space}
    space["loopfm_teacher_config"] = str(loop.config)
    path.write_text(yaml.safe_dump({**tuner, **changes}), encoding="utf-8")
    return path


def stamps(folders: list[Path]) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for f in folders for p in f.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_four_points_extract_nothing_again_and_give_four_rows(
    loop: Loop, zoo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loop.run("loopfm")
    kinds = ("teacher", "extraction", "store")
    before = stamps([folder for kind in kinds for folder in loop.folders(kind)])
    config = write_tuner(tmp_path / "tuner.yaml", loop, dict(SPACE))
    records = sweep(config, [-1, -1], None, zoo)
    points = {(r.config["loopfm_encoder"], r.config["loopfm_max_len"]) for r in records}
    assert points == {("mean", 4), ("mean", 8), ("din", 4), ("din", 8)}
    assert [len(loop.folders(kind)) for kind in kinds] == [1, 1, 1]
    assert stamps([folder for kind in kinds for folder in loop.folders(kind)]) == before
    with open(zoo / "records" / "tuner" / "leaderboard.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 and len({row["encoder"] for row in rows}) == 4
    assert {row["method"] for row in rows} == {"LoopFM"}
    assert len((zoo / "tuner.csv").read_text().splitlines()) == 4
    assert "loopfm_max_len" in capfd.readouterr().out, "rows say what tells them apart"


def test_points_that_fail_are_named(
    loop: Loop, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_survivor(folder: str, gpus: list[int], expid_tag: Any, script: str) -> None:
        expid = load_experiment_ids(folder)[0]
        run_expid.main(script, ["--config", folder, "--expid", expid])
        with pytest.raises(SystemExit):
            run_expid.main(script, ["--config", folder, "--expid", load_experiment_ids(folder)[1]])

    monkeypatch.setattr("fuxictr.autotuner.grid_search", one_survivor)
    config = write_tuner(tmp_path / "bad.yaml", loop, {"loopfm_codec": ["int8", "int3"]})
    with pytest.raises(LoopFMError, match=r"1 of 2 experiments left no record: \['loopfm_002_"):
        sweep(config, [-1], None, zoo)
    assert not list((zoo / "records").rglob("leaderboard*"))


def test_records_of_an_earlier_sweep_do_not_count(
    loop: Loop, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = True

    def one_point(folder: str, gpus: list[int], expid_tag: Any, script: str) -> None:
        if works:
            (expid,) = load_experiment_ids(folder)
            run_expid.main(script, ["--config", folder, "--expid", expid])

    monkeypatch.setattr("fuxictr.autotuner.grid_search", one_point)
    config = write_tuner(tmp_path / "again.yaml", loop, {"loopfm_max_len": [4]})
    first = sweep(config, [-1], None, zoo)
    assert [r.expid for r in sweep(config, [-1], None, zoo)] == [r.expid for r in first]
    works = False
    with pytest.raises(LoopFMError, match="1 of 1 experiments left no record"):
        sweep(config, [-1], None, zoo)


def test_a_dev_sweep_runs_without_the_test_period(
    loop: Loop, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_point(folder: str, gpus: list[int], expid_tag: Any, script: str) -> None:
        (expid,) = load_experiment_ids(folder)
        run_expid.main(script, ["--config", folder, "--expid", expid])

    monkeypatch.setattr("fuxictr.autotuner.grid_search", one_point)
    config = write_tuner(tmp_path / "choose.yaml", loop, {"loopfm_max_len": [4]})
    dev = loop.prepared.folder.with_name("Planted_dev_s1")
    with pytest.raises(ConfigError, match=r"--dev: expected Planted_s1 without its last period"):
        sweep(config, [-1], None, zoo, dev=True)
    frame = log_frame()
    frame = frame[frame["period"] < frame["period"].max()]
    spec = replace(log_spec(), dataset_id=dev.name, periods=Periods.split(CHUNKS - 1, 3))
    write_prepared(dev, spec, frame, {"item_his": item_histories(frame)})
    try:
        (record,) = sweep(config, [-1], None, zoo, dev=True)
    finally:
        shutil.rmtree(dev)
    assert record.dataset_id == dev.name and f"tested on {CHUNKS - 1}" in record.split
    assert [path.name for path in (zoo / "records").iterdir()] == ["choose_dev"]


def test_a_stopped_sweep_ends_its_processes(
    loop: Loop, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def stopped(*_: Any, **__: Any) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        started.append(autotuner.subprocess.Popen(command))
        raise KeyboardInterrupt

    monkeypatch.setattr("fuxictr.autotuner.grid_search", stopped)
    config = write_tuner(tmp_path / "stopped.yaml", loop, dict(SPACE))
    with pytest.raises(KeyboardInterrupt):
        sweep(config, [-1], None, zoo)
    assert started[0].poll() == -signal.SIGTERM and autotuner.subprocess is subprocess


def test_a_sweep_is_enumerated_whole_or_not_at_all(
    loop: Loop, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a file of configurations is a valid file, and would be half of a sweep."""

    def half(config: str) -> str:
        folder = Path(config).with_suffix("")
        folder.mkdir()
        (folder / "model_config.yaml").write_text("loopfm_001: {}\n")
        raise KeyboardInterrupt

    monkeypatch.setattr("fuxictr.autotuner.enumerate_params", half)
    config = write_tuner(tmp_path / "half.yaml", loop, dict(SPACE))
    with pytest.raises(KeyboardInterrupt):
        sweep(config, [-1], None, zoo)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.yaml", "model_zoo"]


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        ({"loopfm_encodr": ["din"]}, {}, "loopfm_encodr"),
        ({}, {"tuner_space": None}, "tuner_space: expected a mapping, found NoneType"),
        ({}, {"base_expid": None}, "base_expid: expected one of .* found None"),
        ({}, {"base_expid": "nothing"}, "base_expid: expected one of .* found 'nothing'"),
        ({}, {"base_config": "/nowhere"}, "nowhere"),
    ],
)
def test_a_wrong_tuner_file_is_one_error(
    loop: Loop, zoo: Path, tmp_path: Path, space: dict[str, Any], changes: Any, message: str
) -> None:
    config = write_tuner(tmp_path / "wrong.yaml", loop, dict(space), **changes)
    with pytest.raises(ConfigError, match=rf"wrong\.yaml.*{message}"):
        sweep(config, [-1], None, zoo)
    assert not (zoo / "records").exists()


def test_files_tags_and_paths_that_cannot_work_are_refused(
    loop: Loop, zoo: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="nowhere.yaml: expected a tuner YAML or a folder"):
        sweep(tmp_path / "nowhere.yaml", [-1], None, zoo)
    (tmp_path / "half.yaml").write_text("base_expid: loopfm")
    with pytest.raises(ConfigError, match=r"half\.yaml: expected keys \['tuner_space'\]"):
        sweep(tmp_path / "half.yaml", [-1], None, zoo)
    config = write_tuner(tmp_path / "tuner.yaml", loop, dict(SPACE))
    with pytest.raises(ConfigError, match=r"--tag nothing: expected part of an expid"):
        sweep(config, [-1], "nothing", zoo)
    (tmp_path / "a b").mkdir()
    config = write_tuner(tmp_path / "a b" / "tuner.yaml", loop, dict(SPACE))
    with pytest.raises(ConfigError, match="expected paths without blanks"):
        sweep(config, [-1], None, zoo)
