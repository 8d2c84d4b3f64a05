"""The archives are read, and the section sees one that is not what it should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.archives import tiny
from tests.archives.contents import expected as contents
from tests.torture.archives import ARCHIVES, not_refused, torture
from tests.torture.archives_readers import CHECKS, artifacts
from tests.torture.section import Profile


@pytest.mark.slow
def test_every_archive_is_read(tmp_path: Path) -> None:
    section = torture(Profile(tmp_path))
    assert section.survivors == []
    assert section.tried == {
        "artifacts read and compared": len(CHECKS),
        "copies of a higher major version": 9,
    }


def v1(folder: Path) -> tuple[Path, dict[str, Any]]:
    copied = folder / "copied"
    shutil.copytree(ARCHIVES / "v1", copied)
    return copied, json.loads((copied / "expected.json").read_text())


def test_what_is_expected_comes_from_the_bytes_and_the_log(tmp_path: Path) -> None:
    folder, expected = v1(tmp_path)
    found = json.loads(json.dumps(contents(folder, expected["stores"])))
    assert found == {name: expected[name] for name in found}
    assert tiny.read_csv(folder / tiny.LOG_FILE) == tiny.log_rows()
    lengths = {len(history) for found in expected["histories"].values() for history in found}
    assert lengths == {0, 1, 2, 3}


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "a run on all of them"])
def test_another_content_is_seen(tmp_path: Path, name: str) -> None:
    folder, expected = v1(tmp_path)
    assert list(CHECKS[name](folder, expected)) == []

    def altered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item if key == "folder" else altered(item) for key, item in value.items()}
        if isinstance(value, list):
            return [[*item, 0] if isinstance(item, list) else item for item in value]
        return value + 1 if isinstance(value, (int, float)) else "0" * 64

    kept = {"stores": expected["stores"]}
    if name == "prepared data set":
        kept["item_histories"] = expected["item_histories"]
    changed = altered({key: value for key, value in expected.items()}) | kept
    if name == "encoded views":
        changed["item_histories"] = expected["item_histories"]
    if name == "extraction log":
        changed["extraction"]["rows"] -= 1
    assert list(CHECKS[name](folder, changed)) != []


def test_a_damaged_store_is_refused_rather_than_read(tmp_path: Path) -> None:
    folder, expected = v1(tmp_path)
    with h5py.File(artifacts(folder) / expected["stores"]["int8"] / "shard-00000.h5", "r+") as file:
        file["codes"][5] = 1
    with pytest.raises(Exception, match="sha256|altered|expected"):
        list(CHECKS["event stores"](folder, expected))


def test_a_refusal_without_a_remedy_is_none() -> None:
    def refuse(text: str) -> Any:
        from fuxictr_loopfm.errors import StoreError

        raise StoreError(text)

    assert not_refused(lambda: None) == "a higher major version was read"
    assert "without" in not_refused(lambda: refuse("version 2 is unknown"))
    assert not_refused(lambda: refuse("version: expected 1, found 2. Delete the folder")) == ""
