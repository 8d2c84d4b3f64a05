"""Seals and records of files: what they notice, and where they say it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fuxictr_loopfm.files import seals as sealed
from fuxictr_loopfm.files.seals import (
    SEAL,
    file_problem,
    file_record,
    file_sha256,
    seal_problem,
    with_seal,
    without_seal,
)

ENTRIES = {"dim": 4, "taps": ["deep"], "nested": {"b": 1.5, "a": None}}


def test_a_sealed_description_is_what_it_was() -> None:
    assert list(with_seal(ENTRIES))[0] == SEAL and without_seal(with_seal(ENTRIES)) == ENTRIES


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dim": 5}, "dim"),
        ({"dim": 4.0}, "dim"),
        ({"dim": "4"}, "dim"),
        ({"nested": {"b": 1.5, "a": 0}}, "nested"),
        ({"more": 1}, "more"),
    ],
)
def test_an_altered_entry_is_named(change: dict[str, Any], named: str) -> None:
    assert seal_problem(with_seal(ENTRIES), ()) is None
    assert (seal_problem({**with_seal(ENTRIES), **change}, ()) or "").startswith(f"{named}: ")


def test_a_lost_entry_and_an_altered_seal_are_named() -> None:
    lost = with_seal(ENTRIES)
    del lost["taps"]
    assert (seal_problem(lost, ENTRIES) or "").startswith("taps: ")
    assert (seal_problem({**ENTRIES, SEAL: "x"}, ENTRIES) or "").startswith("seal: ")
    assert seal_problem({**ENTRIES, SEAL: {"entries": {}, "sha256": ""}}, ENTRIES)


def test_a_description_without_a_seal_has_known_entries_only() -> None:
    """Else one flipped bit in the seal's name would make it an older release's."""
    assert seal_problem(ENTRIES, ENTRIES) is None
    value = with_seal(ENTRIES)
    value["sgal"] = value.pop(SEAL)
    assert seal_problem(value, ENTRIES) == "sgal: unknown entry and no seal: altered"
    assert seal_problem([1], ()) == "expected a mapping, found list"


def test_a_file_says_where_it_was_altered(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    content = bytes(range(256)) * 64
    path.write_bytes(content)
    record = file_record(path)
    assert record["bytes"] == len(content) and len(record["blocks"]) == 8 * 4
    assert file_problem(path, record) is None
    path.write_bytes(content[:5000] + b"x" + content[5001:])
    assert (file_problem(path, record) or "").endswith(" in bytes 4096 to 8191")
    path.write_bytes(content[:-1])
    assert file_problem(path, record) == f"{path}: size: expected 16384 bytes, found 16383"
    path.unlink()
    assert file_problem(path, record) == f"{path}: the file is missing"
    assert "expected a record" in (file_problem(path, {"sha256": 1}) or "")


def test_a_large_file_has_few_blocks() -> None:
    for size in (0, 1, 4096, 1 << 20, (1 << 20) + 1, 10**9, 10**12):
        assert -(-size // sealed._block_bytes(size)) <= 256


def test_a_file_is_read_once_and_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"a")
    read: list[Path] = []
    original = sealed.sha256_file

    def counted(each: Any) -> str:
        read.append(each)
        return original(each)

    monkeypatch.setattr(sealed, "sha256_file", counted)
    os.utime(path, (1, 1))
    first = file_sha256(path)
    assert file_sha256(path) == first and len(read) == 1
    path.write_bytes(b"b")
    assert file_sha256(path) != first
    path.write_bytes(b"c")  # within the tick of the clock: nothing may be remembered
    assert file_sha256(path) == original(path) and len(read) == 3
