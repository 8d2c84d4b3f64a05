"""Building a store: order, reproducible bytes, and input that is refused."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from eight_events import build, fields

from fuxictr_loopfm.errors import ConfigError, DataError, ProvenanceError, StoreError
from fuxictr_loopfm.store.event_store import EventStore

INT64 = np.iinfo(np.int64)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def random_events(count=300):
    rng = np.random.default_rng(3)
    return {
        "key": rng.integers(0, 20, count),
        "timestamp": np.sort(rng.integers(0, 40, count)),
        "event_id": np.arange(count) * 2,
        "codes": rng.integers(-127, 128, (count, 3)).astype(np.int8),
        "pad_code": np.zeros(3, np.int8),
        "logit": rng.normal(size=count).astype(np.float32),
        "side": {
            "label": rng.integers(0, 2, count).astype(np.int8),
            "city": rng.choice(["x", "yy"], count),
        },
        "manifest_fields": fields(codec={"kind": "int8", "pad_code": [0, 0, 0]}),
    }


def permuted(events, order):
    columns = ("key", "timestamp", "event_id", "codes", "logit")
    side = {name: values[order] for name, values in events["side"].items()}
    return {**events, **{name: events[name][order] for name in columns}, "side": side}


@pytest.mark.parametrize("num_shards", [1, 3])
def test_the_same_events_in_any_order_give_the_same_bytes(tmp_path, num_shards):
    events = random_events()
    build(tmp_path / "one", **events, num_shards=num_shards)
    build(tmp_path / "two", **events, num_shards=num_shards)
    shuffled = permuted(events, np.random.default_rng(0).permutation(300))
    build(tmp_path / "three", **shuffled, num_shards=num_shards)
    assert len(contents(tmp_path / "one")) == num_shards + 1
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "three")


def test_ties_keep_the_order_of_the_log_and_extreme_times_are_exact(tmp_path):
    times = np.array([INT64.max, 7, INT64.min, 7, 7])
    build(
        tmp_path / "store",
        key=np.array(["a", "a", "a", "b", "a"]),
        timestamp=times,
        event_id=np.array([50, 30, 40, 20, 10]),
        codes=np.zeros((5, 1), np.int8),
        logit=np.zeros(5, np.float32),
        side={},
    )
    store = EventStore.open(tmp_path / "store")
    assert store.event_id.tolist() == [-1, 40, 10, 30, 50, 20]
    assert store.timestamp.tolist() == [0, INT64.min, 7, 7, INT64.max, 7]


def test_every_dataset_is_contiguous_and_the_manifest_describes_it(tmp_path):
    manifest = build(tmp_path / "store")
    with h5py.File(tmp_path / "store" / "shard-00000.h5") as file:
        names = []
        file.visititems(
            lambda name, each: names.append(name) if isinstance(each, h5py.Dataset) else None
        )
        assert all(file[name].chunks is None for name in names)
        assert all(file[name].id.get_offset() for name in names)
    assert set(names) == set(manifest.shards[0].datasets)
    assert set(names) == {
        "codes", "timestamp", "src_row", "logit", "key_ptr", "key_id", "side/label",
    }  # fmt: skip
    assert manifest.to_dict() == json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert (manifest.row_bytes, manifest.code_dtype, manifest.key_dtype) == (1, "int8", "bytes")


def test_side_columns_of_text_and_truth_values_have_plain_types(tmp_path):
    side = {"city": np.array(["x", "", "yy", "x"], object), "seen": np.array([True, False] * 2)}
    manifest = build(tmp_path / "store", side=side)
    store = EventStore.open(tmp_path / "store")
    rows = store.event_id[1:] - 4
    assert store.side["city"][1:].tolist() == np.array([b"x", b"", b"yy", b"x"])[rows].tolist()
    assert store.side["city"][0] == b"" and store.side["seen"].dtype == np.uint8
    assert manifest.side == {"city": "|S2", "seen": "|u1"}


def test_a_pad_code_other_than_zero_fills_row_0(tmp_path):
    codec = {"kind": "int4_kmeans"}
    build(tmp_path / "store", manifest_fields=fields(codec=codec), pad_code=np.array([9], np.int8))
    store = EventStore.open(tmp_path / "store")
    assert store.codes[0].tolist() == [9] and store.manifest.codec["pad_code"] == [9]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logit": np.zeros(3, np.float32)}, "logit: expected 4 rows like the key, found 3"),
        ({"logit": np.array([0, 0, np.nan, 0], np.float32)}, "logit: expected finite"),
        ({"codes": np.full((4, 1), np.inf, np.float32)}, "codes: expected finite"),
        ({"codes": np.zeros((4, 1))}, "codes: expected dtype uint8, int8.*found float64"),
        ({"codes": np.zeros(4, np.int8)}, "codes: expected 4 rows"),
        ({"pad_code": np.zeros(2, np.int8)}, r"pad_code: expected shape \(1,\), found \(2,\)"),
        ({"pad_code": np.ones(1, np.int8)}, r"expected the pad row \[1\], found \[0\]"),
        ({"timestamp": np.zeros(4)}, "timestamp: expected int64, found float64"),
        ({"event_id": np.array([4, 5, 6, 5])}, "found row 5 of the log twice"),
        ({"key": np.array([1.0, 2, 3, 4])}, "user: a key must be integers or text"),
        ({"side": {"x": np.array([1, None, 2, 3], object)}}, "side column x: "),
    ],
)
def test_bad_columns_are_refused_and_nothing_is_written(tmp_path, changes, words):
    with pytest.raises(DataError, match=words):
        build(tmp_path / "store", **changes)
    assert list(tmp_path.iterdir()) == []


def test_all_problems_of_the_manifest_fields_are_named(tmp_path):
    wrong = fields(colour="red")
    del wrong["taps"]
    with pytest.raises(ConfigError) as caught:
        build(tmp_path / "store", manifest_fields=wrong)
    assert caught.value.problems == [
        "manifest_fields: taps: missing",
        "manifest_fields: colour: unknown entry",
    ]
    with pytest.raises(StoreError, match="time_unit: expected one of"):
        build(tmp_path / "store", manifest_fields=fields(time_unit="hours"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trained", [[1, 2, 3], [4], [9]])
def test_a_teacher_must_be_older_than_what_it_logs(tmp_path, trained):
    wrong = {"provenance": {"teacher_train_periods": trained}}
    with pytest.raises(ProvenanceError, match=r"logged periods \[3, 4\]"):
        build(tmp_path / "store", manifest_fields=fields(**wrong))
    build(tmp_path / "store", manifest_fields=fields(**wrong, backfill=True))
    assert EventStore.open(tmp_path / "store").manifest.backfill
