"""The audit finds what is wrong and says where."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from eight_events import TinyLog, build, fields

from fuxictr_loopfm.files.atomic import sha256_file
from fuxictr_loopfm.store.schema import manifest_fingerprint, shard_identity
from fuxictr_loopfm.structuring.verify import verify_store

# Sorted by (user, time, row): a has rows 5, 7 and b has rows 4, 6 of the log.


@pytest.mark.parametrize("num_shards", [1, 3])
def test_a_true_store_has_no_problems(tmp_path, num_shards):
    build(tmp_path / "store", num_shards=num_shards)
    assert verify_store(tmp_path / "store", TinyLog()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"timestamp": np.array([20, 20, 30, 31])},
            "shard-00000.h5: row 2 (row 7 of the log): timestamp: expected 30, found 31; 1 rows",
        ),
        (
            {"side": {"label": np.array([1, 1, 0, 1], np.int8)}},
            "row 1 (row 5 of the log): side/label: expected 0, found 1; 1 rows",
        ),
        (
            {"key": np.array(["b", "a", "b", "b"])},
            "(row 7 of the log): key: expected b'a', found b'b'; 1 rows",
        ),
        ({"key": np.array([1, 2, 1, 2])}, "key user: expected |S1 as in the log, found int64"),
        (
            {"event_id": np.array([4, 5, 6, 8])},
            "src_row: expected rows of the log, 0 to 7, found 8",
        ),
        ({"rows": (4, 5, 7)}, "1 missing, the first at row 6 of the log"),
        (
            {"rows": (3, 4, 5, 6, 7)},
            "(row 3 of the log): period: expected a logged period [3, 4], found 2; 1 rows",
        ),
        (
            {"manifest_fields": fields(dataset_fingerprint="e" * 16)},
            f"dataset_fingerprint: expected {'d' * 16}, found {'e' * 16}",
        ),
        ({"manifest_fields": fields(dataset_id="other_s1")}, "dataset_id: expected tiny_s1"),
        ({"manifest_fields": fields(time_unit="ms")}, "time_unit: expected s, found ms"),
        (
            {"manifest_fields": fields(provenance={"compressor_fit_periods": [3, 4]})},
            "provenance.compressor_fit_periods: expected no test period, found [4]",
        ),
    ],
)
def test_a_store_that_disagrees_with_the_log_is_found(tmp_path, changes, words):
    build(tmp_path / "store", **changes)
    problems = verify_store(tmp_path / "store", TinyLog())
    assert len(problems) == 1 and words in problems[0]


def test_a_filtered_store_may_lack_events(tmp_path):
    build(tmp_path / "store", rows=(4, 7), manifest_fields=fields(event_filter="clk == 1"))
    assert verify_store(tmp_path / "store", TinyLog()) == []


def test_all_altered_datasets_of_all_shards_are_named(tmp_path):
    folder = tmp_path / "store"
    manifest = build(folder, num_shards=2)
    assert [shard.rows for shard in manifest.shards] == [2, 2]
    for shard, names in (("shard-00000.h5", ["logit"]), ("shard-00001.h5", ["codes", "src_row"])):
        with h5py.File(folder / shard, "r+") as file:
            for name in names:
                file[name][1] = 77
    problems = verify_store(folder, TinyLog())
    named = [problem.split(": expected")[0] for problem in problems]
    assert named == [
        f"{folder / 'shard-00000.h5'}: logit",
        f"{folder / 'shard-00001.h5'}: codes",
        f"{folder / 'shard-00001.h5'}: src_row",
    ]


def tamper(folder, **values):
    """Change datasets and recompute every checksum, as a wrong writer would have."""
    path = folder / "shard-00000.h5"
    plain = json.loads((folder / "manifest.json").read_text())
    record = plain["shards"][0]
    with h5py.File(path, "r+") as file:
        for name, value in values.items():
            file[name][...] = value
        file.attrs["identity"] = np.bytes_(shard_identity(plain, 0, record))
    record["sha256"] = sha256_file(path)
    record["bytes"] = path.stat().st_size
    plain["fingerprint"] = manifest_fingerprint(plain)
    (folder / "manifest.json").write_text(json.dumps(plain))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"codes": [[3], [6], [8], [5], [7]]}, "codes: pad row: expected [0], found [3]"),
        ({"logit": [1, 0, 0, 0, 0]}, "logit: pad row: expected 0.0, found 1.0"),
        ({"src_row": [0, 5, 7, 4, 6]}, "src_row: pad row: expected -1, found 0"),
        ({"timestamp": [0, 20, 30, 31, 30]}, "row 4 (row 6 of the log): order: expected rows"),
        ({"key_id": [b"b", b"a"]}, "key_id: expected distinct ascending keys"),
        ({"key_id": [b"a", b"a"]}, "key_id: expected distinct ascending keys"),
    ],
)
def test_a_store_of_a_wrong_writer_is_found(tmp_path, values, words):
    build(tmp_path / "store")
    tamper(tmp_path / "store", **values)
    problems = verify_store(tmp_path / "store", TinyLog())
    assert len(problems) == 1 and words in problems[0]


def test_a_teacher_that_saw_what_it_logged_is_found_unless_backfill(tmp_path):
    folder = tmp_path / "store"
    build(folder)
    plain = json.loads((folder / "manifest.json").read_text())
    plain["provenance"]["teacher_train_periods"] = [1, 3]
    (folder / "manifest.json").write_text(json.dumps(plain))
    tamper(folder)
    assert "the teacher trained on periods [1, 3]" in verify_store(folder, TinyLog())[0]
    allowed = fields(provenance={"teacher_train_periods": [1, 3]}, backfill=True)
    build(folder, manifest_fields=allowed)
    assert verify_store(folder, TinyLog()) == []


def test_a_folder_without_a_store_is_one_problem(tmp_path):
    problems = verify_store(tmp_path, TinyLog())
    assert len(problems) == 1 and "manifest.json: the file is missing" in problems[0]
