"""The extraction log: whole parts, resume, refusal."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from fuxictr_loopfm.errors import ConfigError, DataError, StoreError
from fuxictr_loopfm.store.extraction_log import ExtractionLog, ExtractionManifest
from tests.resealed import change_json

META = {"teacher": "t" * 16, "period": 5}


def write(folder, name="period-05", first=10, rows=3, meta=META, **changes):
    arrays = {
        "event_id": np.arange(first, first + rows),
        "embedding": np.arange(rows * 2, dtype=np.float32).reshape(rows, 2) + first,
        "logit": np.arange(rows, dtype=np.float32) - first,
    }
    return ExtractionLog.write_part(folder, name, **{**arrays, **changes}, meta=meta)


def finish(folder, parts, **changes):
    values = {
        "dim": 2,
        "taps": ["deep"],
        "teacher_fingerprint": "t" * 16,
        "compressor_fingerprint": None,
        "teacher_train_periods": [1],
        "logged_periods": [5, 6],
        "parts": tuple(parts),
    }
    manifest = ExtractionManifest(**{**values, **changes})
    ExtractionLog.write_manifest(folder, manifest)
    return manifest


@pytest.fixture
def log(tmp_path):
    parts = [write(tmp_path), write(tmp_path, "period-06", first=13, rows=2)]
    return tmp_path, finish(tmp_path, parts)


def test_parts_are_concatenated_in_event_order(log):
    folder, manifest = log
    opened = ExtractionLog.open(folder)
    assert opened.event_id.tolist() == [10, 11, 12, 13, 14]
    assert opened.embedding.tolist() == [[10, 11], [12, 13], [14, 15], [13, 14], [15, 16]]
    assert opened.logit.tolist() == [-10, -9, -8, -13, -12]
    assert opened.embedding.dtype == opened.logit.dtype == np.float32
    assert opened.manifest == manifest and [p.rows for p in opened.manifest.parts] == [3, 2]


def test_an_embedding_that_vanished_after_opening_is_refused(log):
    opened = ExtractionLog.open(log[0])
    (log[0] / "period-06.h5").unlink()
    with pytest.raises(StoreError, match=r"period-06.h5: the file is missing"):
        _ = opened.embedding


def test_only_a_whole_unaltered_part_with_the_same_meta_is_reused(tmp_path):
    assert ExtractionLog.finished_part(tmp_path, "period-05", META) is None
    record = write(tmp_path)
    assert ExtractionLog.finished_part(tmp_path, "period-05", META) == record
    assert ExtractionLog.finished_part(tmp_path, "period-05", {**META, "period": 6}) is None
    with h5py.File(tmp_path / "period-05.h5", "r+") as file:
        file["logit"][0] = 7
    assert ExtractionLog.finished_part(tmp_path, "period-05", META) is None
    write(tmp_path)
    (tmp_path / "period-05.json").write_text('{"name": "period-05"')
    assert ExtractionLog.finished_part(tmp_path, "period-05", META) is None
    assert write(tmp_path) == record  # the same input gives the same bytes


def test_an_unfinished_extraction_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(StoreError, match=r"manifest.json: the file is missing.*not complete"):
        ExtractionLog.open(tmp_path)


def test_altered_truncated_and_missing_parts_are_refused(log):
    folder, _ = log
    path = folder / "period-06.h5"
    content = path.read_bytes()
    with h5py.File(path, "r+") as file:
        file["logit"][0] = 7
    with pytest.raises(StoreError, match=r"period-06.h5: sha256: .* in bytes 0 to"):
        ExtractionLog.open(folder)
    path.write_bytes(content[:-8])
    with pytest.raises(StoreError, match=f"period-06.h5: size: expected {len(content)} bytes"):
        ExtractionLog.open(folder)
    path.unlink()
    with pytest.raises(StoreError, match=r"period-06.h5: the file is missing"):
        ExtractionLog.open(folder)


def test_events_out_of_order_across_parts_are_refused(tmp_path):
    finish(tmp_path, [write(tmp_path), write(tmp_path, "period-06", first=12)])
    with pytest.raises(StoreError, match="rising event ids over all parts, found 12 after 12"):
        ExtractionLog.open(tmp_path)


def test_parts_of_another_width_are_refused(tmp_path):
    finish(tmp_path, [write(tmp_path)], dim=3)
    with pytest.raises(StoreError, match=r"embedding: expected shape \(3, 3\), found \(3, 2\)"):
        ExtractionLog.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": [9, 0]}, "expected major version 1"),
        ({"schema": "loopfm.store"}, "expected 'loopfm.extraction', found 'loopfm.store'"),
        ({"parts": [{"name": "x"}]}, "no valid manifest"),
    ],
)
def test_a_wrong_manifest_is_refused(log, changes, words):
    path = log[0] / "manifest.json"
    change_json(path, lambda entries: entries.update(changes))
    with pytest.raises(StoreError, match=words):
        ExtractionLog.open(log[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embedding": np.zeros((2, 2), np.float32)}, "one row per event id"),
        ({"logit": np.zeros((3, 1), np.float32)}, "logit: expected shape"),
        ({"logit": np.array([0, np.nan, 0], np.float32)}, "logit: expected finite"),
        ({"embedding": np.full((3, 2), np.inf, np.float32)}, "embedding: expected finite"),
        ({"event_id": np.array([3, 2, 4])}, "rising event ids"),
    ],
)
def test_a_bad_part_is_refused_before_anything_is_written(tmp_path, changes, words):
    with pytest.raises(DataError, match=f"extraction part period-05: .*{words}"):
        write(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a.h5"])
def test_part_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(ConfigError, match="part name"):
        write(tmp_path, name)
