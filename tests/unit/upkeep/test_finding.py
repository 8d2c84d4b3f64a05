"""One search for artifacts: by the names of files alone, each kind from one entry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fuxictr_loopfm.upkeep import finding
from fuxictr_loopfm.upkeep.finding import find_artifacts
from fuxictr_loopfm.upkeep.kinds import KINDS, Kind

HEX = "0123456789abcdef"
TREE = {
    "prepared/Set_s1/dataset.yaml": "prepared",
    "Set_s1/encoded.json": "view",
    "Set_s1/raw/shard-00000.h5": None,  # not looked for: a view's folder is one artifact
    f"Set_s1/view-{HEX}/encoded.json": "view",  # beside one of an earlier release
    f"Half_s1/view-{HEX}/train.parquet": "view unfinished",
    "Old_s1/feature_map.json": "view unfinished",
    "exported/feature_map.json": "unknown",
    "exported/test.npz": "export",
    "exported/test.parquet": "export",
    f"artifacts/Set_s1/teacher-{HEX}/teacher.pt": "teacher unfinished",
    "artifacts/Set_s1/my-store/shard-00000.h5": "store",
    "artifacts/Set_s1/my-store/manifest.json": "store",
    f"artifacts/Set_s1/store-{HEX}.parts/shard-00000.h5": "parts unfinished",
    f"artifacts/Set_s1/extraction-{HEX}/manifest.json": "extraction",
    f"artifacts/Set_s1/pointers/test-{HEX}.h5": "pointers",
    f"artifacts/Set_s1/pointers/test-{HEX}.json": None,  # described with its file
    "records/base-seed1.json": "records",
    "records/base-seed1.npz": "predictions",
    "records/all.jsonl": "records",
    "notes.txt": "unknown",
    ".loopfm-tmp-1/manifest.json": "leftover",
}
FILES = ("unknown", "records", "export", "predictions", "pointers")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in TREE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"damaged")
    return tmp_path


def test_every_kind_is_found_though_nothing_in_it_can_be_read(tree: Path) -> None:
    kinds = {}
    for found in find_artifacts(tree):
        words = found.kind if found.finished else f"{found.kind} unfinished"
        for path in found.files or (found.path,):
            kinds[str(path.relative_to(tree))] = words
    expected = {}
    for name, words in TREE.items():
        in_folder = words and words.split()[0] not in (
            "unknown",
            "records",
            "export",
            "predictions",
        )
        if words:
            alone = in_folder and words != "pointers"
            expected[str(Path(name).parent) if alone else name] = words
    assert kinds == expected
    assert {words.split()[0] for words in kinds.values()} >= set(KINDS)


def test_a_new_kind_is_one_entry(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_notes(path: Path, _: set[str]) -> bool:
        return path.name == "notes.txt"

    notes = Kind("notes", is_file=is_notes, check=lambda found, _: f"{len(found.files)} notes")
    monkeypatch.setitem(KINDS, "notes", notes)
    (found,) = [each for each in find_artifacts(tree) if each.kind == "notes"]
    assert found.files == (tree / "notes.txt",)
    monkeypatch.setitem(KINDS, "notes", replace(notes, each_alone=True))
    (found,) = finding.find_artifacts(tree / "notes.txt")
    assert found.path == tree / "notes.txt"
