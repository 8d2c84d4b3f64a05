"""A store without some events is the store that the other events give, byte by byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_store import build, manifest_fields

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.store import forget
from fuxictr_loopfm.store.forget import Without, write_shards_without
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.structuring.shards import write_store_manifest

AFTER = "e" * 16


def events(count: int, seed: int, text: bool) -> dict[str, Any]:
    """A third of a log of 3 x ``count`` rows is stored, in random order."""
    random = np.random.default_rng(seed)
    user = random.integers(-9, 9, count)
    return {
        "key": np.array([f"k{each:+03}é" for each in user]) if text else user,
        "timestamp": random.integers(0, 50, count),
        "event_id": random.choice(3 * count, count, replace=False),
        "codes": random.integers(0, 255, (count, 2)).astype(np.uint8),
        "logit": random.normal(size=count).astype(np.float32),
        "side": {"label": random.integers(0, 2, count).astype(np.int8)},
    }


def without(folder: Path, gone: np.ndarray, target: Path) -> None:
    target.mkdir()
    plain, shards = write_shards_without(
        folder, read_manifest(folder), Without(gone, AFTER), target
    )
    write_store_manifest(target, plain, shards)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_store_of_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(forget, "_BLOCK_ROWS", 7)
    given, shards = events(90, seed, text=seed % 2 == 1), (1, 3, 40)[seed % 3]
    build(tmp_path / "whole", shards, **given)
    # All of two keys' events, and rows of the log that were never stored.
    lost = np.isin(given["key"], np.unique(given["key"])[[0, 5]])
    absent = np.setdiff1d(np.arange(270), given["event_id"])[::9]
    gone = np.sort(np.concatenate([given["event_id"][lost], absent]))
    without(tmp_path / "whole", gone, tmp_path / "less")

    left = {name: value[~lost] for name, value in given.items() if name != "side"}
    left["event_id"] = np.array([row - (gone < row).sum() for row in left["event_id"]])
    left["side"] = {"label": given["side"]["label"][~lost]}
    build(tmp_path / "other", shards, manifest_fields(dataset_fingerprint=AFTER), **left)
    assert contents(tmp_path / "less") == contents(tmp_path / "other")


def test_a_key_keeps_the_events_that_are_not_gone(tmp_path: Path) -> None:
    given = events(60, 1, text=False)
    build(tmp_path / "whole", 2, **given)
    gone = np.sort(given["event_id"][::2])
    without(tmp_path / "whole", gone, tmp_path / "less")
    assert read_manifest(tmp_path / "less").rows == 30


def test_a_store_may_be_empty_afterwards(tmp_path: Path) -> None:
    given = events(20, 2, text=True)
    build(tmp_path / "whole", 2, **given)
    without(tmp_path / "whole", np.sort(given["event_id"]), tmp_path / "less")
    manifest = read_manifest(tmp_path / "less")
    assert (manifest.rows, manifest.keys) == (0, 0)


def test_damage_is_not_written_anew(tmp_path: Path) -> None:
    build(tmp_path / "whole")
    path = tmp_path / "whole" / "shard-00000.h5"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 4
    path.write_bytes(raw)
    with pytest.raises(StoreError, match=r"shard-00000\.h5"):
        without(tmp_path / "whole", np.array([10]), tmp_path / "less")
    assert list((tmp_path / "less").iterdir()) == []
