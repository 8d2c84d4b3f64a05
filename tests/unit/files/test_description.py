"""One reader for every description: what it accepts, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fuxictr_loopfm.errors import ProvenanceError
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.seals import with_seal

PAIR = Format("loopfm.toy", (1, 2), ProvenanceError, "Make it again.")
NUMBER = Format("loopfm.toy", 3, ProvenanceError, "Make it again.")


@pytest.mark.parametrize("version", [[1, 0], (1, 2), [1, 9]])
def test_every_minor_version_of_the_known_major_version_is_read(version: Any) -> None:
    PAIR.check({"schema": "loopfm.toy", "version": version})
    assert PAIR.header == {"schema": "loopfm.toy", "version": [1, 2]}


@pytest.mark.parametrize(
    ("kind", "version"),
    [(PAIR, each) for each in ([2, 0], [1], [1, 0, 0], [True, 0], ["1", 0], "1.0", 1, None)]
    + [(NUMBER, each) for each in (4, [3, 0], "3", 3.0, None)],
)
def test_another_version_is_refused_with_what_to_do(kind: Format, version: Any) -> None:
    with pytest.raises(ProvenanceError) as refused:
        kind.check({"schema": "loopfm.toy", "version": version}, "a/file.json")
    major = 1 if kind is PAIR else 3
    assert str(refused.value) == (
        f"a/file.json: version: expected major version {major}, found {version!r}. Use the release "
        "that wrote it, or: Make it again."
    )


@pytest.mark.parametrize(
    ("value", "found"), [({"schema": "other"}, "'other'"), ({}, "None"), ([1], "'list'")]
)
def test_another_schema_is_refused(value: Any, found: str) -> None:
    with pytest.raises(ProvenanceError) as refused:
        NUMBER.check(value)
    assert str(refused.value) == f"schema: expected 'loopfm.toy', found {found}. Make it again."


def test_a_file_is_read_without_its_seal_which_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    entries = {**NUMBER.header, "rows": 4}
    path.write_text(json.dumps(with_seal(entries)))
    assert NUMBER.read_json(path) == entries
    path.write_text(json.dumps({**with_seal(entries), "rows": 5}))
    with pytest.raises(ProvenanceError, match=r"toy.json: rows: does not fit the seal: altered"):
        NUMBER.read_json(path)
    path.write_text("{")
    with pytest.raises(ProvenanceError, match=r"toy.json: expected .* Make it again"):
        NUMBER.read_json(path)
    with pytest.raises(ProvenanceError, match=r"none.json: expected .* Make it again"):
        NUMBER.read_json(tmp_path / "none.json")


def test_descriptions_of_releases_before_seals(tmp_path: Path) -> None:
    """They have no seal, so an entry they never wrote is a seal whose name was hit."""
    old = Format(
        "loopfm.toy", 1, ProvenanceError, "Again.", unsealed_entries=("a",), always_named=False
    )
    path = tmp_path / "toy.json"
    path.write_text('{"a": 1}')
    assert old.read_json(path) == {"a": 1}
    path.write_text('{"a": 1, "sezl": 2}')
    with pytest.raises(ProvenanceError, match="sezl: unknown entry and no seal"):
        old.read_json(path)
