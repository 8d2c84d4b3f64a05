"""Out of core and shard by shard: the same bytes as one process with all the memory it wants."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eight_events import fields
from out_of_core_source import LIMIT, ManyEvents

from fuxictr_loopfm.errors import ConfigError, StoreError
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.structuring import key_table, reading, shards
from fuxictr_loopfm.structuring.blocks import row_columns
from fuxictr_loopfm.structuring.shards import (
    StorePlan,
    build_shards,
    finish_store,
    parts_folder,
)
from fuxictr_loopfm.structuring.spool import Spool
from tests.store_building import ColumnSource, build_store

FIELDS = fields(codec={"kind": "int8", "pad_code": [0, 0, 0]})
SMALL = 100_000


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LEAST_LIMIT", 1)
    monkeypatch.setattr(key_table, "_FEW_KEYS", 3)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def events(kind: str, count: int = 4_000, order: str = "log") -> dict[str, Any]:
    """Many ties; every tenth event is the same key's."""
    rng = np.random.default_rng(5)
    key: Any = rng.integers(-40, 40, count) * 10**15
    key[::10] = 7
    if kind == "text":
        key = np.array([f"kä{'y' * (abs(value) % 3)}{value}" for value in key.tolist()], object)
    found = {
        "key": key,
        "timestamp": np.sort(rng.integers(0, 300, count)),
        "event_id": np.arange(count) * 3,
        "codes": rng.integers(-127, 128, (count, 3)).astype(np.int8),
        "logit": rng.normal(size=count).astype(np.float32),
    }
    label = rng.integers(0, 2, count).astype(np.int8)
    if order == "shuffled":
        shuffle = rng.permutation(count)
        found, label = {name: each[shuffle] for name, each in found.items()}, label[shuffle]
    return {**found, "pad_code": np.zeros(3, np.int8), "side": {"label": label}}


def source_of(columns: dict[str, Any]) -> ColumnSource:
    rows = row_columns(len(columns["key"]), **{k: v for k, v in columns.items() if k != "key"})
    return ColumnSource(columns["key"], rows, "user")


@pytest.mark.parametrize("order", ["log", "shuffled"])
@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("kind", ["int", "text"])
def test_out_of_core_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, num_shards: int, order: str
) -> None:
    spooled = []
    monkeypatch.setattr(reading, "Spool", lambda *a: spooled.append(a) or Spool(*a))
    columns = events(kind, order=order)
    build_store(tmp_path / "all", manifest_fields=FIELDS, **columns, num_shards=num_shards)
    assert not spooled
    build_store(
        tmp_path / "little",
        manifest_fields=FIELDS,
        **columns,
        num_shards=num_shards,
        memory_limit=SMALL,
    )
    assert len(spooled) == 1
    assert contents(tmp_path / "all") == contents(tmp_path / "little")
    assert EventStore.open(tmp_path / "little").num_events == 4_000


def test_a_key_that_fits_into_no_partition_is_copied_if_it_is_in_time_order(
    tmp_path: Path,
) -> None:
    columns = events("int", 6_000)
    columns["key"][: 6_000 // 2] = 7
    build_store(tmp_path / "all", manifest_fields=FIELDS, **columns)
    build_store(tmp_path / "little", manifest_fields=FIELDS, **columns, memory_limit=SMALL)
    assert contents(tmp_path / "all") == contents(tmp_path / "little")
    columns["timestamp"] = columns["timestamp"][::-1].copy()
    with pytest.raises(ConfigError, match=r"a single key has \d+ events, which are not in time"):
        build_store(tmp_path / "other", manifest_fields=FIELDS, **columns, memory_limit=SMALL)
    assert not (tmp_path / "other").exists()


def test_a_limit_too_small_for_the_distinct_keys_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = events("int")
    columns["key"] = np.arange(4_000)
    with pytest.raises(ConfigError, match="4000 distinct keys alone take"):
        build_store(tmp_path / "store", manifest_fields=FIELDS, **columns, memory_limit=SMALL)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="expected 64MiB or more, found 100000 bytes"):
        build_store(tmp_path / "store", manifest_fields=FIELDS, **columns, memory_limit=SMALL)
    assert list(tmp_path.iterdir()) == []


@dataclass
class Jobs:
    """Jobs that share a folder, each building some shards."""

    folder: Path
    plan: StorePlan
    source: ColumnSource

    def build(self, *indices: int, memory_limit: int | None = None) -> None:
        build_shards(parts_folder(self.folder), self.source, self.plan, indices, memory_limit)

    def finish(self) -> list[int]:
        return finish_store(self.folder, parts_folder(self.folder), self.plan.num_shards)


@pytest.fixture(params=["int", "text"])
def jobs(tmp_path: Path, request: pytest.FixtureRequest) -> Jobs:
    columns = events(request.param)
    build_store(tmp_path / "whole", manifest_fields=FIELDS, **columns, num_shards=4)
    plan = StorePlan(FIELDS, columns["pad_code"], 4)
    return Jobs(tmp_path / "store", plan, source_of(columns))


def test_shard_by_shard_equivalence(jobs: Jobs) -> None:
    jobs.build(2)
    jobs.build(0, memory_limit=SMALL)
    assert jobs.finish() == [1, 3] and not jobs.folder.exists()
    jobs.build(3, 1, 0)
    assert jobs.finish() == []
    assert contents(jobs.folder) == contents(jobs.folder.with_name("whole"))
    assert not parts_folder(jobs.folder).exists()
    assert jobs.finish() == []


def test_a_finished_shard_is_kept_and_a_damaged_one_is_built_again(jobs: Jobs) -> None:
    jobs.build(0, 1, 2, 3)
    parts = parts_folder(jobs.folder)
    before = {path.name: path.stat().st_ino for path in parts.glob("*.h5")}
    with open(parts / "shard-00001.h5", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    assert jobs.finish() == [1]
    jobs.build(0, 1, 2, 3)
    after = {path.name: path.stat().st_ino for path in parts.glob("*.h5")}
    assert [name for name in before if before[name] != after[name]] == ["shard-00001.h5"]
    assert jobs.finish() == []
    assert contents(jobs.folder) == contents(jobs.folder.with_name("whole"))


def test_two_jobs_may_finish_the_same_store(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.build(0, 1, 2, 3)
    write = shards.write_store_manifest

    def overtaken(*arguments: Any) -> Any:
        """The other job finishes and cleans up while this one is about to."""
        monkeypatch.undo()
        monkeypatch.setattr(reading, "LEAST_LIMIT", 1)
        assert jobs.finish() == []
        return write(*arguments)

    monkeypatch.setattr(shards, "write_store_manifest", overtaken)
    assert jobs.finish() == []
    assert contents(jobs.folder) == contents(jobs.folder.with_name("whole"))
    assert sorted(path.name for path in jobs.folder.parent.iterdir()) == ["store", "whole"]


def test_shards_of_different_settings_are_not_put_together(jobs: Jobs) -> None:
    jobs.build(0, 1, 2)
    jobs.plan = StorePlan({**FIELDS, "taps": ["other"]}, jobs.plan.pad_code, 4)
    jobs.build(3)
    with pytest.raises(StoreError, match=r"shards \[3\] were built from other events or settings"):
        jobs.finish()


MEMORY_CHILD = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from out_of_core_source import LIMIT, ManyEvents, plan, process_bytes
from fuxictr_loopfm.structuring.shards import build_shards
source = ManyEvents(int(sys.argv[3]))
build_shards(Path(sys.argv[2]) / "warm", ManyEvents(1_000), plan(), [0], LIMIT)
before = process_bytes("VmRSS")
allowed = process_bytes("VmSize") + int(1.3 * LIMIT)
resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
build_shards(Path(sys.argv[2]) / "parts", source, plan(), [0], LIMIT)
print(json.dumps([before, process_bytes("VmHWM")]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and sets RLIMIT_AS")
def test_out_of_core_keeps_to_its_memory_limit(tmp_path: Path) -> None:
    count = 2_000_000
    assert count * ManyEvents(1).read_bytes > 1.5 * LIMIT
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_CHILD, str(Path(__file__).parent), str(tmp_path), str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, peak = json.loads(done.stdout)
    assert peak - before <= 1.3 * LIMIT
    record = json.loads((tmp_path / "parts" / "shard-00000.json").read_text())
    assert record["shard"]["rows"] == count
