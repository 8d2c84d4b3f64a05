from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.records.packing import is_header, merged, packed
from fuxictr_loopfm.records.record import read_records
from tests.made_up import run_record as make

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from([0.0, 1.0, "a"]))
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.just("k"), SCALARS))
SECTIONS = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3)
RECORDS = st.dictionaries(st.sampled_from("abcd"), st.one_of(VALUES, SECTIONS), max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_header_and_line_together_are_the_record(records):
    header, *lines = [json.loads(line) for line in packed(records).splitlines()]
    assert is_header(header, "a file")
    with pytest.raises(DataError, match="a file: version: expected major version 1, found 2. Use"):
        is_header({**header, "version": 2}, "a file")
    found = [merged(header["shared"], line) for line in lines]
    # As text: 1, 1.0 and True are equal in Python.
    assert [json.dumps(r, sort_keys=True) for r in found] == [
        json.dumps(r, sort_keys=True) for r in records
    ]


def test_what_most_records_share_is_written_once():
    config = {"learning_rate": 0.001, "units": [32, 16], "note": "x" * 100}
    records = [make(seed=seed, config={**config, "seed": seed}).to_dict() for seed in range(50)]
    records[7]["config"]["learning_rate"] = 0.01
    text = packed(records)
    assert text.count("x" * 100) == 1
    assert text.count("learning_rate") == 2
    assert json.loads(text.splitlines()[8])["config"] == {"learning_rate": 0.01, "seed": 7}


def test_packed_records_are_read_like_any_others(tmp_path):
    records = [make(seed=seed, model=name) for name in ("A", "B:small") for seed in (1, 2)]
    path = tmp_path / "records.jsonl"
    path.write_text(packed([record.to_dict() for record in records]))
    assert read_records([path]) == read_records([tmp_path]) == records


def test_a_wrong_line_is_named(tmp_path):
    path = tmp_path / "records.jsonl"
    lines = packed([make(seed=seed).to_dict() for seed in (1, 2, 3)]).splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace('"seed": 2', '"seed": "two"'), ""]))
    with pytest.raises(DataError, match=r"records\.jsonl, line 3: .*seed: expected an integer"):
        read_records([path])
    path.write_text("\n".join([lines[0], "[1]", ""]))
    with pytest.raises(DataError, match=r"line 2: schema: expected 'loopfm.run', found 'list'"):
        read_records([path])


def test_a_header_of_another_version_is_refused_by_its_version(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(packed([make().to_dict()]).replace('"version": 1}\n', '"version": 9}\n', 1))
    with pytest.raises(
        DataError, match="line 1: version: expected major version 1, found 9. Use the"
    ):
        read_records([path])
