"""Whatever happens later changes no byte of what was known before: from the log to the batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Loop, new_loop
from planted import DATASET, TEACHER_DATASET, log_frame, write_log

from fuxictr_loopfm.data.history_source import HistorySource
from fuxictr_loopfm.pipeline.histories import Histories
from fuxictr_loopfm.store.event_store import EventStore

TEST_PERIOD = 6
FIRST_TRAINED = 667  # rows of the teacher's periods
# A quantiser that is fitted, and a compressor that reads the log once more by itself.
KEYS = {
    "loopfm_history": "embedding+label+log_age+ids",
    "loopfm_codec": "int4_kmeans",
    "loopfm_compressor": "post_hoc",
    "loopfm_compressor_epochs": 1,
}


def another_course(frame: pd.DataFrame, row: int) -> pd.DataFrame:
    """Other events from ``row`` on, new users and items among them.

    The user of ``row`` itself stays, so that a history that may see ties would see the change.
    """
    later = frame.index >= row
    changed = frame.copy()
    changed.loc[later, "click"] = 1 - frame.loc[later, "click"]
    changed.loc[later, "item_id"] = "i" + (frame.index[later] % 50).astype(str)
    changed.loc[later, "user_id"] = frame.loc[later, "user_id"].iloc[::-1].to_numpy()
    changed.loc[later & (frame.index % 7 == 0), "user_id"] = "a newcomer"
    changed.loc[row, "user_id"] = frame.loc[row, "user_id"]
    changed.loc[later, "price"] = frame.loc[later, "price"] * 3
    changed.loc[later, "segment"] = "s9"
    return changed


def fewer_rows(frame: pd.DataFrame, row: int) -> pd.DataFrame:
    """Two of three rows from ``row`` on are gone, and each of the others stands for three."""
    kept = (frame.index < row) | (frame.index % 3 == 0)
    return frame[kept].reset_index(drop=True)


def other_labels(frame: pd.DataFrame, row: int) -> pd.DataFrame:
    """Nothing but the labels."""
    changed = frame.copy()
    changed.loc[frame.index >= row, "click"] = 1 - frame.loc[frame.index >= row, "click"]
    return changed


Change = Callable[[pd.DataFrame, int], pd.DataFrame]


@dataclass(frozen=True)
class Known:
    """What a loop has learned and what its samples are given.

    Attributes:
        teacher: everything fitted on the teacher's periods, as bytes or plain values.
        vertical: vocabulary of the vertical view.
        seen: per split and sample, the bytes of its history.
    """

    teacher: dict[str, Any]
    vertical: dict[str, Any]
    seen: dict[str, list[bytes]]


def known(loop: Loop) -> Known:
    _, workspace = loop.load("loopfm", **KEYS)
    vertical, seen = {}, {}
    found = Histories(workspace)
    for split in ("train", "test"):
        source = found.sources(split)["loopfm_history"]
        assert isinstance(source, HistorySource)
        vertical = vocabulary(loop, DATASET)
        rows = workspace.view.rows(split)
        events = range(rows.start, rows.stop)
        seen[split] = [delivered(source, event, vertical) for event in events]
    files = [*loop.folders("teacher")[0].glob("*.pt"), loop.folders("extraction")[0]]
    files[-1] /= "calibration.npy"
    teacher: dict[str, Any] = {path.name: path.read_bytes() for path in files}
    (store,) = loop.folders("store")
    teacher["codec"] = EventStore.open(store).manifest.codec
    teacher["vocabulary"] = vocabulary(loop, TEACHER_DATASET)
    return Known(teacher, vertical, seen)


def delivered(source: HistorySource, event: int, vocabularies: dict[str, Any]) -> bytes:
    """A history's bytes; ids as the words they stand for, because later rows may number them."""
    batch = source.batch(np.array([event]))
    columns = [batch.embedding, batch.label, batch.log_age]
    parts = [values.numpy().tobytes() for values in columns]  # type: ignore[union-attr]
    for name, ids in batch.ids.items():
        word_of = {number: word for word, number in vocabularies[name].items()}
        parts.append(" ".join(word_of[number] for number in ids.tolist()).encode())
    return b"|".join(parts)


def vocabulary(loop: Loop, view: str) -> dict[str, Any]:
    """Ids of every feature. The groups of gAUC are no feature: they name all users there are."""
    (path,) = (loop.root / "data" / view).glob("view-*/feature_vocab.json")
    vocabularies = json.loads(path.read_text())
    return {name: ids for name, ids in vocabularies.items() if name != "group_id"}


@pytest.fixture(scope="module")
def untouched(loop: Loop) -> Known:
    found = known(loop)
    names = {"teacher.pt", "compressor.pt", "calibration.npy", "codec", "vocabulary"}
    assert set(found.teacher) == names and "item_id" in found.vertical
    assert sum(each.strip(b"|") != b"" for each in found.seen["train"]) > 800
    return found


def known_after(folder: Path, frame: pd.DataFrame) -> Known:
    return known(new_loop(folder, write_log(folder / "prepared", frame)))


@pytest.mark.parametrize("change", [another_course, fewer_rows, other_labels])
def test_the_test_period_changes_nothing_before_it(
    untouched: Known, tmp_path: Path, change: Change
) -> None:
    frame = log_frame()
    first = int(np.argmax(frame["period"] == TEST_PERIOD))
    other = known_after(tmp_path, change(frame, first))
    assert other.teacher == untouched.teacher
    assert other.vertical == untouched.vertical
    assert other.seen["train"] == untouched.seen["train"]
    assert other.seen["test"] != untouched.seen["test"]


@pytest.mark.parametrize("change", [another_course, fewer_rows, other_labels])
def test_any_later_row_changes_no_earlier_history(
    untouched: Known, tmp_path: Path, change: Change
) -> None:
    frame = log_frame()
    row = 1_201
    before, after = (frame.loc[r, ["timestamp", "user_id"]].tolist() for r in (row - 1, row))
    assert before == after, "the change begins at the very second of an earlier sample"
    other = known_after(tmp_path, change(frame, row))
    assert other.teacher == untouched.teacher
    samples = row - FIRST_TRAINED
    assert other.seen["train"][:samples] == untouched.seen["train"][:samples]
    assert other.seen["train"][samples:] != untouched.seen["train"][samples:]
