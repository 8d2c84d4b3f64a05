"""Who extracts, and how often he is interrupted, changes no byte of the log."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Loop, new_loop
from dying_task import DiesInTheMiddle

from fuxictr_loopfm.commands.cli import main
from fuxictr_loopfm.engine import run_shards
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.pipeline import extraction_pass
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store.extraction_log import ExtractionLog

# Three batches of 32, so each of the four logged periods of 333 or 334 events has four parts.
PART_ROWS, PARTS = 100, 16


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction_pass, "PART_ROWS", PART_ROWS)


def pass_of(loop: Loop, **overrides: Any) -> ExtractionPass:
    return loop.load("loopfm", **overrides)[1].extraction_pass


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@dataclass(frozen=True)
class Plain:
    """What one process wrote without interruption, and the teacher that it was written with."""

    loop: Loop
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, planted_log: PreparedDataset) -> Plain:
    loop = new_loop(tmp_path_factory.mktemp("plain"), planted_log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction_pass, "PART_ROWS", PART_ROWS)
        log = pass_of(loop).build()
    return Plain(loop, contents(log.folder))


@pytest.fixture
def trained(own_loop: Loop, plain: Plain) -> Loop:
    """A loop of its own whose teacher is trained, with nothing logged."""
    (teacher,) = plain.loop.folders("teacher")
    shutil.copytree(teacher, own_loop.artifacts / teacher.name)
    return own_loop


def test_a_part_is_cut_where_a_batch_ends(plain: Plain) -> None:
    parts = sorted(name for name in plain.files if name.endswith(".h5"))
    assert len(parts) == PARTS
    assert parts[:5] == [*(f"period-0003-000{n}.h5" for n in range(4)), "period-0004-0000.h5"]
    manifest = ExtractionLog.read_manifest(plain.loop.folders("extraction")[0])
    assert [part.rows for part in manifest.parts[:4]] == [96, 96, 96, 45]
    assert all(part.meta["rows"][0] % 32 == 0 for part in manifest.parts)


def test_equivalence_of_small_and_large_parts(
    trained: Loop, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction_pass, "PART_ROWS", 1 << 19)
    large = pass_of(trained).build()
    assert len(large.manifest.parts) == PARTS // 4
    small = ExtractionLog.open(plain.loop.folders("extraction")[0])
    for name in ("event_id", "embedding", "logit"):
        assert np.array_equal(getattr(large, name), getattr(small, name)), name


def test_equivalence_of_two_worker_processes_with_one_killed_in_the_middle(
    trained: Loop, plain: Plain, tmp_path: Path
) -> None:
    extraction = pass_of(trained)
    extraction.run.ready()
    task = DiesInTheMiddle(
        extraction.task(extraction.parts, apart=True), tmp_path / "died", PARTS // 2
    )
    run_shards(task, range(PARTS), engine="processes", workers=2)
    assert (tmp_path / "died").exists()
    written = {path.name: path.stat().st_mtime_ns for path in extraction.folder.glob("*.h5")}
    assert len(written) == PARTS
    log = pass_of(trained).build(workers=2)
    assert {path.name: path.stat().st_mtime_ns for path in log.folder.glob("*.h5")} == written
    assert contents(log.folder) == plain.files


@pytest.mark.slow
def test_equivalence_of_three_ray_workers(trained: Loop, plain: Plain) -> None:
    log = pass_of(trained).build(engine="ray", workers=3)
    assert contents(log.folder) == plain.files


def command(loop: Loop) -> list[str]:
    return ["extract", "--config", str(loop.config), "--expid", "loopfm"]


def test_equivalence_of_shares_in_any_order(
    trained: Loop, plain: Plain, capsys: pytest.CaptureFixture[str]
) -> None:
    for share, finished in (("3/3", 6), ("1/3", 11), ("2/3", 16)):
        main([*command(trained), "--shard", share])
        (folder,) = trained.folders("extraction")
        assert len(list(folder.glob("*.h5"))) == finished
        line = capsys.readouterr().out
        done = finished == PARTS
        assert ("1333 events logged" if done else "share logged, others are missing") in line
        assert (folder / "manifest.json").exists() == done
    assert contents(folder) == plain.files
    main([*command(trained), "--shard", "1/3"])
    assert "1333 events logged" in capsys.readouterr().out


def test_equivalence_after_an_interruption_inside_a_period(
    trained: Loop, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_part = ExtractionLog.write_part

    def stop(folder: Path, name: str, *rest: Any) -> Any:
        if name == "period-0004-0002":
            raise KeyboardInterrupt
        return write_part(folder, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(ExtractionLog, "write_part", staticmethod(stop))
        with pytest.raises(KeyboardInterrupt):
            pass_of(trained).build()
    (folder,) = trained.folders("extraction")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(list(folder.glob("*.h5"))) == 6
    pass_of(trained).build()
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    assert contents(folder) == plain.files


@pytest.mark.parametrize("how", [{"workers": 2}, {"engine": "ray"}])
def test_engine_and_shares_are_refused_for_a_teacher_that_learns_on(
    trained: Loop, how: dict[str, Any]
) -> None:
    extraction = pass_of(trained, loopfm_checkpoint="every_period")
    with pytest.raises(ConfigError, match=r"loopfm_checkpoint: expected 'fixed'.*'every_period'"):
        extraction.build(**how)
    with pytest.raises(ConfigError, match=r"loopfm_checkpoint: expected 'fixed'"):
        extraction.build_share(1, 2)


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "a/b", "1/-2"])
def test_engine_shares_that_do_not_exist(
    trained: Loop, share: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command(trained), "--shard", share])
    assert f"expected i/n with i from 1 to n, found {share!r}" in capsys.readouterr().err
