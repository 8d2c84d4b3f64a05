"""History batches: one example by hand, deliveries that agree, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fuxictr_loopfm.compression.codec import Codec
from fuxictr_loopfm.compression.quantizer import build_codec
from fuxictr_loopfm.data.history_source import DELIVERIES, HistorySource
from fuxictr_loopfm.errors import ConfigError, DataError, ProvenanceError
from fuxictr_loopfm.layers.batch import HistoryBatch, PackedEmbedding, PaddedHistory
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.structuring.builder import build_pointers
from tests.made_up import store_fields
from tests.store_building import build_store

DIM = 3


def _store(
    folder: Path, codec: Codec, log: dict[str, np.ndarray], time_unit: str = "s", **changes: Any
) -> EventStore:
    """All events of the log but the first, which stands for periods that were not logged."""
    rows = np.arange(1, len(log["user"]))
    arguments: dict[str, Any] = {
        "codes": codec.encode(log["embedding"][rows]) if codec.width else None,
        "side": {"label": log["label"][rows]},
        **changes,
    }
    build_store(
        folder,
        manifest_fields=store_fields(codec, time_unit=time_unit),
        key=log["user"][rows],
        timestamp=log["time"][rows],
        event_id=rows,
        pad_code=codec.pad_code,
        logit=np.zeros(len(rows), np.float32),
        **arguments,
    )
    return EventStore.open(folder)


def _log(size: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "user": random.integers(0, 4, size),
        "time": np.sort(random.integers(0, size, size)),
        "label": random.integers(0, 2, size).astype(np.int8),
        "embedding": random.uniform(-1, 1, (size, DIM)).astype(np.float32),
        "item": random.integers(1, 9, size),
    }


BY_HAND = {
    "user": np.array([7, 7, 8, 7, 7]),
    "time": np.array([0, 10, 10, 12, 12]),
    "label": np.array([1, 1, 0, 0, 1], np.int8),
    "embedding": np.array([[9, 9, 9], [1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 1, 1]], np.float32),
    "item": np.array([5, 6, 7, 8, 9]),
}


def _by_hand(tmp_path: Path, rule: SequenceSpec, **changes: Any) -> HistorySource:
    codec = build_codec("f32", DIM)
    store = _store(tmp_path / "store", codec, BY_HAND)
    keys, times = np.array([7, 8, 9]), np.array([13, 11, 13])
    arguments: dict[str, Any] = {
        "delivery": "padded",
        "sample_time": times,
        "spec": rule,
        "columns": ("embedding", "label", "log_age", "ids"),
        "ids": {"item": BY_HAND["item"]},
        "first_event": 100,
        **changes,
    }
    pointers = build_pointers(store, keys, times, SequenceSpec(max_len=4))
    return HistorySource(store, pointers, codec, **arguments)


def padded(source: HistorySource, rows: Any) -> PaddedHistory:
    batch = source.batch(np.asarray(rows))
    assert isinstance(batch, PaddedHistory)
    return batch


@pytest.mark.parametrize("kind", ["f32", "f16", "int8", "int4_uniform", "int4_kmeans"])
@pytest.mark.parametrize("prefix", [None, 2])
@pytest.mark.parametrize("delay", [0, 5])
def test_deliveries_equivalence(tmp_path: Path, kind: str, prefix: int | None, delay: int) -> None:
    """Every delivery, with and without shared rows, tells each sample the same history."""
    log = _log(200)
    codec = build_codec(kind, DIM).fit(log["embedding"])
    store = _store(tmp_path / "store", codec, log)
    spec = SequenceSpec(max_len=6, label_delay=delay)
    pointers = build_pointers(store, log["user"], log["time"], spec)
    samples = np.random.default_rng(1).permutation(200)[:50]
    tables = []
    for delivery in DELIVERIES:
        for share in (False, True):
            source = HistorySource(
                store, pointers, codec, sample_time=log["time"], spec=spec,
                columns=("embedding", "label", "ids"), ids={"item": log["item"]},
                prefix_dim=prefix, delivery=delivery, share=share,
            )  # fmt: skip
            batch = source.batch(samples)
            if isinstance(batch, PaddedHistory):
                batch = batch.ragged()
            elif share and not delay:
                assert batch.spans.is_shared and batch.spans.events < len(batch.spans.sample)
            values = batch.embedding
            values = values.unpack() if isinstance(values, PackedEmbedding) else values
            assert values is not None and batch.label is not None
            parts = (values, batch.label, batch.ids["item"])
            tables.append([batch.spans.length, *(batch.spans.pairs(part) for part in parts)])
    assert tables[0][1].shape[1] == (prefix or DIM) and len(tables[0][1]) > 200
    for other in tables[1:]:
        for left, right in zip(tables[0], other, strict=True):
            assert torch.equal(left, right)


def test_an_unknown_delivery_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="delivery: expected one of .* found 'jagged'"):
        _by_hand(tmp_path, SequenceSpec(max_len=4), delivery="jagged")


def test_an_example_by_hand(tmp_path: Path) -> None:
    # At time 13 user 7 has the logged events 1 (time 10), 3 and 4 (time 12); user 8 has event 2.
    source = _by_hand(tmp_path, SequenceSpec(max_len=4, label_delay=1))
    batch = padded(source, [102, 100, 101])
    no, yes = False, True
    assert batch.mask.tolist() == [[no] * 3, [yes, yes, yes], [no, no, yes]]
    assert batch.embedding is not None and batch.label is not None and batch.log_age is not None
    assert batch.embedding.dtype == torch.float32
    assert batch.embedding[1].tolist() == [[1, 2, 3], [7, 8, 9], [1, 1, 1]]
    assert batch.embedding[2].tolist() == [[0, 0, 0], [0, 0, 0], [4, 5, 6]]
    assert batch.embedding[0].abs().sum() == 0
    # Ages 3, 1, 1: only a label older than 1 is known.
    assert batch.label.tolist() == [[0] * 3, [2, 0, 0], [0] * 3]
    expected = np.log([[1, 1, 1], [4, 2, 2], [1, 1, 2]]).astype(np.float32)
    np.testing.assert_allclose(batch.log_age, expected, rtol=1e-6)
    assert batch.ids["item"].tolist() == [[0] * 3, [6, 8, 9], [0, 0, 7]]
    assert batch.ids["item"].dtype == batch.label.dtype == torch.int64


def test_a_batch_is_as_wide_as_its_longest_history(tmp_path: Path) -> None:
    source = _by_hand(tmp_path, SequenceSpec(max_len=4))
    assert padded(source, [100, 101]).mask.shape == (2, 3)
    assert source.batch(np.array([101])).ids["item"].tolist() == [[7]]
    # Encoders need a step to look at even where every history is empty.
    nothing = padded(source, [102])
    assert nothing.mask.tolist() == [[False]]
    assert nothing.embedding is not None and nothing.embedding.tolist() == [[[0, 0, 0]]]


def test_a_shorter_max_len_keeps_the_newest_events(tmp_path: Path) -> None:
    source = _by_hand(tmp_path, SequenceSpec(max_len=2))
    batch = source.batch(np.array([100]))
    assert batch.ids["item"].tolist() == [[8, 9]]
    assert batch.label is not None and batch.label.tolist() == [[1, 2]]


def test_only_the_wanted_columns_are_made(tmp_path: Path) -> None:
    source = _by_hand(tmp_path, SequenceSpec(max_len=2), columns=("log_age",))
    batch = padded(source, [100])
    assert batch.embedding is None and batch.label is None and batch.ids == {}
    assert batch.log_age is not None and batch.mask.tolist() == [[True, True]]


def test_a_store_without_embeddings_serves_ids(tmp_path: Path) -> None:
    log = _log(20)
    codec = build_codec("none", 0)
    store = _store(tmp_path / "store", codec, log)
    spec = SequenceSpec(max_len=3)
    pointers = build_pointers(store, log["user"], log["time"], spec)
    common = {"sample_time": log["time"], "spec": spec}
    source = HistorySource(
        store, pointers, codec, columns=("ids",), ids={"item": log["item"]}, **common
    )
    batch = source.batch(np.arange(20))
    assert isinstance(batch, HistoryBatch) and len(batch.ids["item"]) == batch.spans.events > 0
    assert torch.all(batch.ids["item"] > 0)
    with pytest.raises(ConfigError, match="embedding: expected a codec .* found none"):
        HistorySource(store, pointers, codec, **common)


def test_batches_do_not_share_memory(tmp_path: Path) -> None:
    source = _by_hand(tmp_path, SequenceSpec(max_len=3))
    first = source.batch(np.array([100]))
    assert first.embedding is not None
    first.embedding.zero_()
    second = source.batch(np.array([100])).embedding
    assert second is not None and second[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"spec": SequenceSpec(max_len=5)}, ConfigError, "max_len: expected at most 4"),
        ({"spec": SequenceSpec(max_len=4, delay=1)}, ConfigError, "delay: expected 0 .* found 1"),
        ({"columns": ("embeding",)}, ConfigError, "expected any of .*found .'embeding'"),
        ({"sample_time": np.array([1])}, DataError, "expected 3 samples .* found 1"),
        ({"ids": {"item": np.array([1, 2])}}, DataError, "ids item: expected .* 5 or more"),
    ],
)
def test_contradictions_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _by_hand(tmp_path, SequenceSpec(max_len=4), **changes)


def test_events_without_pointers_are_refused(tmp_path: Path) -> None:
    source = _by_hand(tmp_path, SequenceSpec(max_len=4))
    with pytest.raises(DataError, match="expected events 100 to 102, found 99 to 100"):
        source.batch(np.array([100, 99]))


def test_pointers_into_another_store_are_refused(tmp_path: Path) -> None:
    codec = build_codec("f32", DIM)
    stores = [_store(tmp_path / str(seed), codec, _log(20, seed)) for seed in (1, 2)]
    spec = SequenceSpec(max_len=3)
    log = _log(20, 1)
    pointers = build_pointers(stores[0], log["user"], log["time"], spec)
    with pytest.raises(ProvenanceError, match="expected pointers into this store"):
        HistorySource(stores[1], pointers, codec, sample_time=log["time"], spec=spec)


def test_labels_need_a_label_column_in_the_store(tmp_path: Path) -> None:
    codec = build_codec("f32", DIM)
    log = _log(20)
    store = _store(tmp_path / "store", codec, log, side={})
    spec = SequenceSpec(max_len=3)
    pointers = build_pointers(store, log["user"], log["time"], spec)
    with pytest.raises(ConfigError, match="column label: expected a side column 'label'"):
        HistorySource(
            store, pointers, codec, sample_time=log["time"], spec=spec, columns=("label",)
        )
