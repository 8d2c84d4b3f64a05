"""What is shown of encoded data in FuxiCTR's folder of the data set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuxictr_loopfm.data.artifact import is_shown, publishing, show_newest
from fuxictr_loopfm.upkeep.finding import find_artifacts

OLD, NEW = (f"view-{digit * 16}" for digit in "12")


def publish(folder: Path, *names: str) -> Path:
    """Encoded data of a plain data set, made of files that hold the folder's name."""
    with publishing(folder, {"view": "plain", "fingerprint": folder.name[5:], "params": {}}) as at:
        for name in names:
            (at / name).write_text(folder.name)
    return folder


def test_the_newest_data_are_shown_and_nothing_of_others_is_replaced(tmp_path: Path) -> None:
    place = tmp_path / "tiny"
    raw = tmp_path / "raw.parquet"
    raw.write_text("raw")
    place.mkdir()
    (place / "test.parquet").write_text("mine")
    (place / "valid.parquet").symlink_to(raw)
    files = ("feature_map.json", "test.parquet", "train.parquet", "valid.parquet")
    show_newest(publish(place / OLD, *files, "pretrained_item.npz"))
    assert (place / "pretrained_item.npz").read_text() == OLD

    show_newest(publish(place / NEW, *files))

    assert (place / "test.parquet").read_text() == "mine"
    assert (place / "valid.parquet").read_text() == "raw"
    assert os.readlink(place / "train.parquet") == f"{NEW}/train.parquet"
    shown = {path.name for path in place.iterdir() if is_shown(path)}
    assert shown == {"feature_map.json", "train.parquet"}
    assert not os.path.lexists(place / "pretrained_item.npz")
    # Verification and forgetting see the folders alone.
    kinds = [(found.kind, found.path.name) for found in find_artifacts(place)]
    assert [each for each in kinds if each[0] == "view"] == [("view", OLD), ("view", NEW)]
    assert "feature_map.json" not in str(kinds)


def test_nothing_happens_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    folder = publish(tmp_path / OLD, "train.parquet")
    show_newest(folder)
    assert [path.name for path in tmp_path.iterdir()] == [OLD]
