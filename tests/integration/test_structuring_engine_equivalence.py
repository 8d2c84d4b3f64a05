"""``loopfm structure`` by other engines, share by share and out of core: the same store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import Loop
from dying_task import DiesOnce

from fuxictr_loopfm.commands.cli import main
from fuxictr_loopfm.engine import run_shards
from fuxictr_loopfm.pipeline import structuring_pass
from fuxictr_loopfm.pipeline.structuring_pass import StructuringTask
from fuxictr_loopfm.structuring import reading
from fuxictr_loopfm.structuring.spool import Spool

SHARDS = 4
RAY = pytest.param("ray", marks=pytest.mark.slow)
Bytes = dict[str, bytes]


@pytest.fixture(scope="module")
def command(loop: Loop) -> list[str]:
    path = loop.config / "model_config.yaml"
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    sections["loopfm_label"] |= {"loopfm_num_shards": SHARDS, "loopfm_codec": "int4_kmeans"}
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return ["structure", "--config", str(loop.config), "--expid", "loopfm_label"]


@pytest.fixture(scope="module")
def expected(loop: Loop, command: list[str]) -> Bytes:
    """What one process writes: store and pointers."""
    main(command)
    return taken(loop)


@pytest.fixture(autouse=True)
def tasks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def taken(loop: Loop) -> Bytes:
    """The bytes of store and pointers, which are then gone."""
    (store,) = loop.folders("store")
    folders = [store, loop.artifacts / "pointers"]
    found = {
        f"{folder.name}/{path.name}": path.read_bytes()
        for folder in folders
        for path in sorted(folder.glob("[!.]*"))
    }
    for folder in folders:
        shutil.rmtree(folder)
    assert len(found) == SHARDS + 1 + 2 * 2, "shards, manifest; pointers and their records"
    return found


@pytest.mark.parametrize("engine", ["processes", RAY])
def test_engines_write_the_same_bytes(
    loop: Loop, command: list[str], expected: Bytes, engine: str
) -> None:
    main([*command, "--engine", engine, "--workers", "2"])
    assert taken(loop) == expected


def test_shares_engine_equivalence(
    loop: Loop, command: list[str], expected: Bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*command, "--shard", "2/3"])
    assert "share built, 3 others are missing" in capsys.readouterr().out
    assert loop.folders("store")[0].suffix == ".parts"
    main([*command, "--shard", "1/3"])
    assert "share built, 1 others are missing" in capsys.readouterr().out
    main([*command, "--shard", "3/3"])
    assert "shards: 4," in capsys.readouterr().out
    assert taken(loop) == expected


def test_more_shares_than_shards_are_refused(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--shard", "1/5"])
    assert stopped.value.code == 1
    assert "Set loopfm_num_shards to 5 or a multiple of it" in capsys.readouterr().err


def test_out_of_core_equivalence(
    loop: Loop, command: list[str], expected: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LEAST_LIMIT", 1)
    spooled = []
    monkeypatch.setattr(reading, "Spool", lambda *a: spooled.append(a) or Spool(*a))
    main([*command, "--memory-limit", "64KiB"])
    assert len(spooled) == 1 and taken(loop) == expected


@pytest.mark.parametrize("engine", ["processes", RAY])
def test_a_worker_killed_in_the_middle_costs_its_shard_engine_equivalence(
    loop: Loop,
    command: list[str],
    expected: Bytes,
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = []

    def run(task: StructuringTask, shards: range, **how: object) -> None:
        tasks.append(DiesOnce(task, tmp_path, dying=2))
        run_shards(tasks[0], shards, **how)

    monkeypatch.setattr(structuring_pass, "run_shards", run)
    main([*command, "--engine", engine, "--workers", "2"])
    assert [tasks[0].attempts(shard) for shard in range(SHARDS)] == [1, 1, 2, 1]
    assert taken(loop) == expected
