from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.records import environment
from fuxictr_loopfm.records.environment import collect_environment, utc_now
from fuxictr_loopfm.records.record import read_records, write_record
from tests.made_up import run_record as make


def test_a_written_record_reads_back_equal_under_the_name_of_experiment_and_seed(tmp_path):
    record = make(split="periods 5-7 train, 8 tests")
    path = write_record(tmp_path / "records", record)
    assert path == tmp_path / "records" / "DeepFM_tiny_s1_base-seed1.json"
    assert read_records([path]) == [record]
    stored = json.loads(path.read_text())
    assert (stored["schema"], stored["version"]) == ("loopfm.run", 1)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_record_of_no_table_is_written_as_before_there_were_tables(tmp_path):
    assert "paper_table" not in make().to_dict()
    record = make(paper_table=4)
    assert read_records([write_record(tmp_path, record)]) == [record]
    with pytest.raises(DataError, match="paper_table: expected an integer of 1 or more"):
        make(paper_table="4")


def test_a_record_without_warnings_is_written_as_before_there_were_any(tmp_path):
    assert "warnings" not in make().to_dict()
    record = make(warnings=["the prediction is constant"])
    assert read_records([write_record(tmp_path, record)]) == [record]
    with pytest.raises(DataError, match="warnings: expected a list of texts"):
        make(warnings="constant")


def test_configuration_values_without_a_json_form_do_not_lose_the_run(tmp_path):
    config = {
        "units": (4, 2),
        "path": Path("a/b"),
        "rate": np.float32(0.5),
        "limit": math.inf,
        7: {"x": {3}},
        "flag": True,
        "nothing": None,
    }
    record = make(config=config)
    assert record.config == {
        "units": [4, 2],
        "path": "a/b",
        "rate": 0.5,
        "limit": "inf",
        "7": {"x": [3]},
        "flag": True,
        "nothing": None,
    }
    assert read_records([write_record(tmp_path, record)]) == [record]


def test_gauc_may_be_missing_and_other_metrics_may_not():
    make(metrics={"AUC": 0.7, "logloss": 0.5, "NE": 0.9})
    with pytest.raises(DataError, match=r"metrics.NE: expected a finite number, found None"):
        make(metrics={"AUC": 0.7, "logloss": 0.5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "1"}, "seed: expected an integer, found '1'"),
        ({"seed": True}, "seed: expected an integer, found True"),
        ({"params": -1}, "params: expected an integer of 0 or more, found -1"),
        ({"train_seconds": math.nan}, "train_seconds: expected a finite number"),
        ({"expid": "../x"}, "expid: expected a name without slashes"),
        ({"method": " "}, "method: expected a text"),
        ({"started": "2026-01-31T12:00:00"}, "started: expected a UTC time"),
        ({"started": "2026-01-31T12:00:00+08:00"}, "started: expected a UTC time"),
        ({"metrics": {"AUC": math.nan, "logloss": 1, "NE": 1}}, "metrics.AUC: expected a finite"),
        ({"metrics": {"AUC": 1, "logloss": 1, "NE": 1, "F1": 1}}, "metrics.F1: unknown metric"),
        ({"fingerprints": {"data": "d"}}, "fingerprints.store: expected a text, found None"),
    ],
)
def test_invalid_values_are_named(changes, message):
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_all_problems_are_reported_at_once():
    with pytest.raises(DataError, match=r"seed: .*params: .*metrics.AUC: "):
        make(seed=None, params=None, metrics={})


def altered(tmp_path: Path, **changes) -> Path:
    value = make().to_dict() | changes
    path = tmp_path / "x-seed1.json"
    path.write_text(json.dumps({key: item for key, item in value.items() if item != "DROP"}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "other"}, "schema: expected 'loopfm.run', found 'other'"),
        ({"version": 2}, "version: expected major version 1, found 2"),
        ({"dataset_id": "DROP"}, "dataset_id: missing"),
        ({"colour": "red"}, "colour: unknown key"),
        ({"params": "many"}, "params: expected an integer of 0 or more, found 'many'"),
    ],
)
def test_a_damaged_file_is_named_with_its_key(tmp_path, changes, message):
    path = altered(tmp_path, **changes)
    with pytest.raises(DataError) as caught:
        read_records([path])
    assert str(path) in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("content", ['{"schema": ', "[]", "null", ""])
def test_a_file_that_is_no_record_is_named(tmp_path, content):
    path = tmp_path / "x-seed1.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"x-seed1\.json: "):
        read_records([tmp_path])


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "x-seed1.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"x-seed1.json: expected a readable UTF-8"):
        read_records([tmp_path])


def test_folders_files_and_json_lines_are_read_once_each(tmp_path, monkeypatch):
    first, second, third = make(seed=1), make(seed=2), make(seed=3)
    path = write_record(tmp_path / "runs" / "deep", first)
    write_record(tmp_path / "runs", second)
    lines = tmp_path / "kept.jsonl"
    lines.write_text(json.dumps(third.to_dict()) + "\n\n")
    (tmp_path / "runs" / "feature_map.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    found = read_records(["runs", path, lines])
    assert sorted(record.seed for record in found) == [1, 2, 3]


def test_a_damaged_line_is_named_by_number(tmp_path):
    lines = tmp_path / "records.jsonl"
    lines.write_text(json.dumps(make().to_dict()) + "\n{}\n")
    with pytest.raises(DataError, match=r"records.jsonl, line 2: schema: expected"):
        read_records([lines])


def test_paths_without_records_are_refused(tmp_path):
    with pytest.raises(DataError, match="found no such file or folder"):
        read_records([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="found none; run `loopfm benchmark`"):
        read_records([tmp_path])


def test_environment_names_the_interpreter_the_libraries_and_the_machine():
    found = collect_environment()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["numpy"] == np.__version__
    assert found["cores"] >= 1 and found["cpu"]
    assert set(found) == {"python", "torch", "fuxictr", "numpy", "cpu", "cores", "git_commit"}


def test_no_commit_is_claimed_for_a_package_outside_git(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path)
    assert collect_environment()["git_commit"] == ""


def test_now_is_a_valid_start_time():
    record = make(started=utc_now())
    assert record.started_at > make().started_at
    assert make(started="2026-01-31T12:00:00Z").started_at == make().started_at
