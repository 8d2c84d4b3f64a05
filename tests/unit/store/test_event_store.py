"""What a store holds, and everything a reader must refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tiny_store import TINY, build, manifest_fields

from fuxictr_loopfm.errors import DataError, ProvenanceError, StoreError
from fuxictr_loopfm.files.atomic import atomic_dir, sha256_file
from fuxictr_loopfm.store import event_store
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.schema import manifest_fingerprint
from fuxictr_loopfm.store.shard import checksum_problems, read_manifest

SHARD = "shard-00000.h5"


def edit_manifest(folder: Path, *, reseal: bool = False, **changes: Any) -> None:
    path = folder / "manifest.json"
    plain = {**json.loads(path.read_text()), **changes}
    if reseal:
        plain["fingerprint"] = manifest_fingerprint(plain)
    path.write_text(json.dumps(plain))


def reseal_shard(folder: Path) -> None:
    """Record the shard's present size and checksum, so that only its content is wrong."""
    plain = json.loads((folder / "manifest.json").read_text())
    record = plain["shards"][0]
    record["bytes"] = (folder / SHARD).stat().st_size
    record["sha256"] = sha256_file(folder / SHARD)
    edit_manifest(folder, reseal=True, shards=plain["shards"])


def test_rows_are_sorted_behind_one_pad_row(tiny):
    store = EventStore.open(tiny)
    assert store.event_id.tolist() == [-1, 11, 13, 15, 10, 12, 14]
    assert store.timestamp.tolist() == [0, 100, 200, 200, 100, 200, 200]
    assert store.codes.tolist() == [
        [0, 0], [3, 4], [7, 8], [11, 12], [1, 2], [5, 6], [9, 10],
    ]  # fmt: skip
    assert store.logit.tolist() == [0.0, -1.0, 2.0, 4.0, 0.5, 0.25, -3.0]
    assert store.side["label"].tolist() == [0, 1, 0, 0, 0, 0, 1]
    assert store.key_id.tolist() == [4, 9] and store.key_ptr.tolist() == [1, 4, 7]
    assert store.row_key.tolist() == [-1, 0, 0, 0, 1, 1, 1]
    assert (store.num_events, store.num_keys) == (6, 2)
    assert store.codes.dtype == np.uint8 and store.logit.dtype == np.float32


def test_several_shards_follow_one_another(tmp_path):
    key = np.arange(20) % 10
    build(
        tmp_path / "store",
        num_shards=3,
        key=key,
        timestamp=np.arange(20),
        event_id=np.arange(20),
        codes=np.repeat(np.arange(20, dtype=np.uint8)[:, None], 2, axis=1),
        logit=np.arange(20, dtype=np.float32),
        side={},
    )
    store = EventStore.open(tmp_path / "store")
    assert len(store.manifest.shards) == 3 and sum(s.rows > 0 for s in store.manifest.shards) > 1
    assert sorted(store.key_id.tolist()) == list(range(10))
    for position, one in enumerate(store.key_id.tolist()):
        rows = slice(store.key_ptr[position], store.key_ptr[position + 1])
        assert store.event_id[rows].tolist() == [one, one + 10]
        assert store.codes[rows].tolist() == [[one, one], [one + 10, one + 10]]
        assert (store.row_key[rows] == position).all()
    assert store.event_id[0] == -1 and (store.event_id[1:] >= 0).all()
    assert store.key_code(np.array([3, 99, -1])).tolist() == [
        store.key_id.tolist().index(3), -1, -1,
    ]  # fmt: skip


def test_locate_names_shard_and_row(tmp_path):
    build(tmp_path / "store", num_shards=2)
    store = EventStore.open(tmp_path / "store")
    first = store.manifest.shards[0].rows
    for row in range(1, 7):
        shard, local = (0, row) if row <= first else (1, row - first)
        assert store.locate(row).endswith(f"shard-{shard:05d}.h5: row {local}")
        with h5py.File(tmp_path / "store" / f"shard-{shard:05d}.h5") as file:
            assert file["src_row"][local] == store.event_id[row]


def test_string_keys_round_trip_with_any_width(tmp_path):
    names = np.array(["b", "a", "木木", "a", "", "b"], object)
    build(tmp_path / "store", key=names, timestamp=np.arange(6))
    store = EventStore.open(tmp_path / "store")
    assert [key.decode() for key in store.key_id] == ["", "a", "b", "木木"]
    longer = np.array(["木木", "木木-and-more", "a", "", "c"])
    assert store.key_code(longer).tolist() == [3, -1, 1, 0, -1]


def test_key_types_are_not_mixed_up(tiny, tmp_path):
    store = EventStore.open(tiny)
    with pytest.raises(StoreError, match="holds int64 keys, the samples have bytes"):
        store.key_code(np.array(["4"]))
    with pytest.raises(DataError, match=r"user: a key must be integers or text.*float64"):
        store.key_code(np.array([4.0]))


def test_a_store_without_events_or_without_codes_is_readable(tmp_path):
    none = np.empty(0, np.int64)
    build(
        tmp_path / "empty",
        num_shards=2,
        key=none,
        timestamp=none,
        event_id=none,
        codes=np.empty((0, 2), np.uint8),
        logit=np.empty(0, np.float32),
        side={},
    )
    store = EventStore.open(tmp_path / "empty")
    assert store.codes.tolist() == [[0, 0]] and store.key_code(np.array([1, 2])).tolist() == [
        -1,
        -1,
    ]
    fields = manifest_fields(dim=0, codec={"kind": "none", "pad_code": []})
    build(tmp_path / "none", fields=fields, codes=None, pad_code=np.empty(0, np.uint8))
    store = EventStore.open(tmp_path / "none")
    assert store.codes.shape == (7, 0) and store.manifest.row_bytes == 0


def refusal(folder: Path) -> str:
    with pytest.raises(StoreError) as caught:
        EventStore.open(folder)
    return str(caught.value)


def test_missing_files_are_named(tiny, tmp_path):
    (tiny / SHARD).unlink()
    assert str(tiny / SHARD) in refusal(tiny) and "missing" in refusal(tiny)
    (tiny / "manifest.json").unlink()
    assert "no complete event store" in refusal(tiny)
    assert "no complete event store" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_truncated_shard_is_refused(tiny, keep):
    content = (tiny / SHARD).read_bytes()
    (tiny / SHARD).write_bytes(content[:keep])
    message = refusal(tiny)
    assert SHARD in message and f"expected {len(content)} bytes, found " in message
    reseal_shard(tiny)
    assert SHARD in refusal(tiny)  # the recorded size agrees, the h5 file is still incomplete


def test_an_altered_value_is_refused_and_its_dataset_can_be_named(tiny):
    with h5py.File(tiny / SHARD, "r+") as file:
        file["timestamp"][3] = 201
    assert f"{tiny / SHARD}: sha256: expected" in refusal(tiny)
    (message,) = checksum_problems(tiny, read_manifest(tiny))
    assert f"{tiny / SHARD}: timestamp: expected sha256" in message
    assert "logit:" not in message and message.count("dataset was altered") == 1


def test_bytes_altered_outside_the_datasets_are_found(tiny):
    content = bytearray((tiny / SHARD).read_bytes())
    with h5py.File(tiny / SHARD) as file:
        first_data = min(file[name].id.get_offset() for name in ("codes", "key_id", "logit"))
    position = content.index(b"\0" * 16, 96)
    assert position < first_data
    content[position] = 1
    (tiny / SHARD).write_bytes(content)
    assert SHARD in refusal(tiny)
    assert SHARD in checksum_problems(tiny, read_manifest(tiny))[0]


def test_any_damaged_byte_is_refused(tiny):
    content = (tiny / SHARD).read_bytes()
    for position in range(0, len(content), 41):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        (tiny / SHARD).write_bytes(damaged)
        assert SHARD in refusal(tiny)
        assert SHARD in checksum_problems(tiny, read_manifest(tiny))[0]


def test_a_shard_of_another_store_is_refused(tiny, tmp_path):
    build(tmp_path / "other", logit=TINY["logit"] + 1)
    assert (tmp_path / "other" / SHARD).stat().st_size == (tiny / SHARD).stat().st_size
    shutil.copy(tmp_path / "other" / SHARD, tiny / SHARD)
    assert "sha256: expected" in refusal(tiny)
    reseal_shard(tiny)
    assert "belongs to another store" in refusal(tiny)


def test_swapped_shards_are_refused(tmp_path):
    build(tmp_path / "store", num_shards=2, key=np.array([1, 2, 3, 4, 5, 6]))
    plain = json.loads((tmp_path / "store" / "manifest.json").read_text())
    shards = plain["shards"][::-1]
    edit_manifest(tmp_path / "store", reseal=True, shards=shards)
    assert "belongs to another store" in refusal(tmp_path / "store")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": [2, 0]}, "expected major version 1, found [2, 0]"),
        ({"version": "1.0"}, "expected major version 1, found '1.0'"),
        ({"schema": "loopfm.dataset"}, "expected 'loopfm.store', found 'loopfm.dataset'"),
        ({"key": "item"}, "the manifest was altered"),
        ({"colour": "red"}, "colour: unknown entry"),
        ({"dim": -1, "time_unit": "h"}, "dim: expected 0 to 65536, found -1; time_unit: expected"),
        ({"shards": [{"file": "../shard-00000.h5"}]}, "shard records with plain file names"),
        ({"provenance": {}}, "provenance.logged_periods: expected a list of periods"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_path(tiny, changes, words):
    edit_manifest(tiny, **changes)
    message = refusal(tiny)
    assert str(tiny / "manifest.json") in message and words in message


def test_a_manifest_without_an_entry_or_that_is_no_json_is_refused(tiny):
    plain = json.loads((tiny / "manifest.json").read_text())
    del plain["codec"]
    (tiny / "manifest.json").write_text(json.dumps(plain))
    assert "codec: missing" in refusal(tiny)
    (tiny / "manifest.json").write_text('{"schema": ')
    assert "no valid JSON" in refusal(tiny)


def test_a_newer_minor_version_is_read_as_far_as_known(tiny):
    edit_manifest(tiny, reseal=True, version=[1, 7], colour="red")
    with h5py.File(tiny / SHARD, "r+") as file:
        file["hue"] = np.arange(3)
    reseal_shard(tiny)
    store = EventStore.open(tiny)
    assert store.manifest.version == (1, 7) and store.num_events == 6


def replace_dataset(folder: Path, name: str, make: Any) -> str:
    with h5py.File(folder / SHARD, "r+") as file:
        values = file[name][...]
        del file[name]
        make(file, values)
    reseal_shard(folder)
    return refusal(folder)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f, v: None, "the dataset is missing"),
        (lambda f, v: f.create_group("logit"), "expected a dataset, found a Group"),
        (lambda f, v: f.create_dataset("logit", data=v[:-1]), "expected shape (7,), found (6,)"),
        (lambda f, v: f.create_dataset("logit", data=v[:, None]), "found (7, 1)"),
        (lambda f, v: f.create_dataset("logit", data=v.astype("f8")), "float32, found float64"),
        (lambda f, v: f.create_dataset("logit", data=v, chunks=(2,)), "found chunks of (2,)"),
        (
            lambda f, v: f.create_dataset("logit", (7,), "f4", external="raw.bin"),
            "stored in other files",
        ),
        (
            lambda f, v: f.create_dataset("logit", data=["x"] * 7, dtype=h5py.string_dtype()),
            "dtype float32, found object",
        ),
        (
            lambda f, v: f.__setitem__("logit", h5py.ExternalLink("x.h5", "/logit")),
            "found a ExternalLink",
        ),
        (lambda f, v: f.__setitem__("logit", h5py.SoftLink("/timestamp")), "found a SoftLink"),
    ],
)  # fmt: skip
def test_any_other_layout_of_a_dataset_is_refused(tiny, monkeypatch, make, words):
    monkeypatch.chdir(tiny)
    message = replace_dataset(tiny, "logit", make)
    assert f"{tiny / SHARD}: logit: " in message and words in message


def test_a_virtual_dataset_is_refused(tiny):
    layout = h5py.VirtualLayout((7,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "logit", (7,))
    message = replace_dataset(
        tiny, "logit", lambda file, _: file.create_virtual_dataset("logit", layout)
    )
    assert "stored in other files" in message


@pytest.mark.parametrize("files_read", [1, 2])
def test_a_store_that_is_replaced_while_it_is_opened_is_the_old_one_or_the_new(
    tiny, tmp_path, monkeypatch, files_read
):
    """Replaced when so many files were read: the manifest, and a shard after it."""
    build(tmp_path / "next", num_shards=2, logit=TINY["logit"] + 1)
    build(tiny, num_shards=2)
    reads = []

    def then_read(read):
        def replaced_then_read(*args):
            if len(reads) == files_read:
                with atomic_dir(tiny) as temporary:
                    shutil.copytree(tmp_path / "next", temporary, dirs_exist_ok=True)
            reads.append(args)
            return read(*args)

        return replaced_then_read

    for name in ("read_manifest", "open_shard"):
        monkeypatch.setattr(event_store, name, then_read(getattr(event_store, name)))
    found = EventStore.open(tiny)
    assert sorted(found.logit[1:]) == sorted(TINY["logit"] + 1)
    assert found.manifest == read_manifest(tmp_path / "next") and len(reads) > files_read + 1


def test_a_broken_key_ptr_is_refused(tiny):
    with h5py.File(tiny / SHARD, "r+") as file:
        file["key_ptr"][...] = [1, 8, 7]
    reseal_shard(tiny)
    assert "key_ptr: expected row numbers rising from 1 to 7" in refusal(tiny)


def test_a_teacher_that_saw_what_it_logged_is_refused_by_the_reader(tiny):
    plain = json.loads((tiny / "manifest.json").read_text())
    plain["provenance"]["teacher_train_periods"] = [1, 2, 3]
    edit_manifest(tiny, reseal=True, provenance=plain["provenance"])
    with pytest.raises(ProvenanceError, match=r"trained on periods \[1, 2, 3\] and logged"):
        EventStore.open(tiny)
