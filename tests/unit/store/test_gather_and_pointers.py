"""Padded indexes by hand, and pointer files that only fit their store and rule."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from tiny_store import TINY, build

from fuxictr_loopfm.errors import DataError, StoreError
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.gather import history_index, shared_runs, take_rows, window_rows
from fuxictr_loopfm.store.pointers import Pointers, pointer_dtypes
from fuxictr_loopfm.structuring.builder import build_pointers

SPEC = SequenceSpec(max_len=3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_histories_are_left_padded_with_the_newest_last(dtype):
    index, mask = history_index(np.array([6, 0, 4], np.uint32), np.array([2, 0, 3], dtype), 3)
    assert index.tolist() == [[0, 4, 5], [0, 0, 0], [1, 2, 3]]
    assert mask.tolist() == [[False, True, True], [False] * 3, [True] * 3]
    assert index.dtype == np.int64 and mask.dtype == bool


def test_a_smaller_max_len_keeps_the_newest_and_a_larger_one_pads():
    end, length = np.array([9], np.uint32), np.array([4], np.uint8)
    assert history_index(end, length, 2)[0].tolist() == [[7, 8]]
    index, mask = history_index(end, length, 300)
    assert index[0, -5:].tolist() == [0, 5, 6, 7, 8] and mask.sum() == 4 and not index[0, :-4].any()


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2,), (3,), (16,), (5, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float32, np.int64])
def test_take_rows_equals_indexing(shape, dtype):
    size = int(np.prod((6, *shape)))
    values = np.arange(size).reshape(6, *shape).astype(dtype)
    index = np.array([[0, 5, 1], [2, 2, 4]])
    taken = take_rows(values, index)
    np.testing.assert_array_equal(taken, values[index])
    assert taken.dtype == values.dtype and taken.flags.owndata


def test_pointers_are_in_store_rows(tiny):
    store = EventStore.open(tiny)  # user 4: rows 1-3 at 100, 200, 200; user 9: rows 4-6, the same
    pointers = build_pointers(
        store, np.array([4, 9, 9, 4, 7]), np.array([200, 201, 100, 201, 999]), SPEC
    )
    assert pointers.end.tolist() == [2, 7, 0, 4, 0]
    assert pointers.length.tolist() == [1, 3, 0, 3, 0]
    assert pointers.end.dtype == np.uint32 and pointers.length.dtype == np.uint8
    delayed = SequenceSpec(max_len=3, delay=1)
    assert build_pointers(store, np.array([9]), np.array([201]), delayed).length.tolist() == [1]


def test_samples_of_wrong_types_are_refused(tiny):
    store = EventStore.open(tiny)
    with pytest.raises(DataError, match="sample time: expected int64, found float64"):
        build_pointers(store, np.array([4]), np.array([1.5]), SPEC)
    with pytest.raises(DataError, match="found 1 keys and 2 times"):
        build_pointers(store, np.array([4]), np.array([1, 2]), SPEC)


def test_pointer_widths_follow_the_store_and_the_length():
    assert pointer_dtypes(2**32 - 2, 255) == (np.dtype("u4"), np.dtype("u1"))
    assert pointer_dtypes(2**32 - 1, 256) == (np.dtype("i8"), np.dtype("u2"))


@pytest.fixture
def saved(tiny, tmp_path):
    store = EventStore.open(tiny)
    pointers = build_pointers(store, np.array([4, 9]), np.array([201, 200]), SPEC)
    pointers.save(tmp_path / "p.h5")
    return store, tmp_path / "p.h5"


def test_pointers_round_trip_and_are_reproducible(saved, tmp_path):
    store, path = saved
    loaded = Pointers.load(path, store=store.manifest, spec=SPEC, num_samples=2)
    assert loaded.end.tolist() == [4, 5] and loaded.length.tolist() == [3, 1]
    loaded.save(tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_pointers_of_no_samples_round_trip(tiny, tmp_path):
    store = EventStore.open(tiny)
    none = np.empty(0, np.int64)
    build_pointers(store, none, none, SPEC).save(tmp_path / "p.h5")
    assert len(Pointers.load(tmp_path / "p.h5", store=store.manifest, spec=SPEC)) == 0


def test_pointers_of_another_store_rule_or_split_are_refused(saved, tmp_path):
    store, path = saved
    other = build(tmp_path / "other", logit=TINY["logit"] + 1)
    with pytest.raises(StoreError, match=f"store: expected {other.fingerprint}, found"):
        Pointers.load(path, store=other, spec=SPEC)
    with pytest.raises(StoreError, match=r'spec: expected .*"delay": 5'):
        Pointers.load(path, store=store.manifest, spec=SequenceSpec(max_len=3, delay=5))
    with pytest.raises(StoreError, match="samples: expected 3, found 2"):
        Pointers.load(path, store=store.manifest, spec=SPEC, num_samples=3)


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("version", b"2.0", "expected major version 1"),
        ("schema", b"loopfm.store", "expected 'loopfm.pointers', found 'loopfm.store'"),
        ("samples", b"two", "samples: expected a number"),
        ("sha256", 5, "attribute sha256: expected text"),
    ],
)
def test_pointer_files_with_a_wrong_header_are_refused(saved, attribute, value, words):
    store, path = saved
    path.with_suffix(".json").unlink()  # as files of earlier releases
    with h5py.File(path, "r+") as file:
        file.attrs[attribute] = np.bytes_(value) if isinstance(value, bytes) else value
    with pytest.raises(StoreError, match=words) as caught:
        Pointers.load(path, store=store.manifest, spec=SPEC)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("has_record", [True, False])
def test_altered_truncated_and_missing_pointer_files_are_refused(saved, has_record):
    store, path = saved
    if not has_record:
        path.with_suffix(".json").unlink()
    content = path.read_bytes()
    with h5py.File(path, "r+") as file:
        file["end"][0] = 6
    with pytest.raises(StoreError, match="sha256: expected"):
        Pointers.load(path, store=store.manifest, spec=SPEC)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="size: expected" if has_record else "no complete h5 file"):
        Pointers.load(path, store=store.manifest, spec=SPEC)
    path.unlink()
    with pytest.raises(StoreError, match="missing"):
        Pointers.load(path, store=store.manifest, spec=SPEC)


def test_pointers_of_other_samples_are_refused(saved, tmp_path):
    store, path = saved
    pointers = Pointers.load(path, store=store.manifest, spec=SPEC)
    pointers.save(tmp_path / "a.h5", {"rows": [0, 2]})
    pointers.save(tmp_path / "b.h5", {"rows": [2, 4]})
    for suffix in (".h5", ".json"):
        (tmp_path / f"b{suffix}").replace(tmp_path / f"a{suffix}")
    with pytest.raises(StoreError, match=r"a.json: meta: expected {'rows': \[0, 2\]}, found"):
        Pointers.load(tmp_path / "a.h5", store=store.manifest, spec=SPEC, samples={"rows": [0, 2]})


def test_window_rows_of_known_windows() -> None:
    rows = window_rows(np.array([4, 0, 9]), np.array([2, 0, 3], np.uint8))
    assert rows.tolist() == [4, 5, 9, 10, 11] and rows.dtype == np.int64
    assert window_rows(np.array([], np.int64), np.array([], np.int64)).tolist() == []


def test_shared_runs_of_known_windows() -> None:
    start, length = np.array([9, 4, 0, 4, 4]), np.array([2, 1, 0, 3, 3])
    run_start, run_length, place = shared_runs(start, length)
    assert run_start.tolist() == [4, 9] and run_length.tolist() == [3, 2]
    assert place.tolist() == [3, 0, 0, 0, 0]
    empty = shared_runs(np.array([5, 0]), np.array([0, 0]))
    assert [part.tolist() for part in empty] == [[], [], [0, 0]]
