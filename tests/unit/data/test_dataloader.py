"""The loader: exact batches, order, epochs, sequences, logits, and what it refuses."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from tiny_log import history_strings

from fuxictr_loopfm.data.dataloader import LoopFMDataLoader
from fuxictr_loopfm.data.encode import build_view
from fuxictr_loopfm.data.prefetch import THREAD_NAME
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.layers.batch import HistoryBatch
from fuxictr_loopfm.layers.spans import Spans
from fuxictr_loopfm.prepared.dataset import PreparedDataset

FEATURES = {
    "item": {"type": "categorical"},
    "price": {"type": "numeric"},
    "tags": {"type": "sequence", "max_len": 2},
    "event_id": {"type": "meta"},
}


class FakeHistory:
    """Stands for a HistorySource: remembers which events it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def batch(self, rows: np.ndarray) -> HistoryBatch:
        self.asked.append(rows.tolist())
        return HistoryBatch(Spans.of_lengths(torch.ones(len(rows), dtype=torch.int64)))


def _feature_map(**features: Any) -> Any:
    return SimpleNamespace(features={**FEATURES, **features}, labels=["click"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five events with ids 10 to 14."""
    table = pa.table(
        {
            "item": pa.array([3, 1, 2, 2**40, 1], pa.int64()),
            "price": pa.array([0.5, 1.0, 1.5, 2.0, 2.5], pa.float64()),
            "tags": pa.array([[1, 2], [3, 0], [0, 0], [4, 5], [6, 7]], pa.list_(pa.int32())),
            "event_id": pa.array(range(10, 15), pa.int64()),
            "click": pa.array([0.0, 1.0, 1.0, 0.0, 1.0], pa.float64()),
            "unused": pa.array(list("abcde")),
        }
    )
    pq.write_table(table, tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def test_batches_in_file_order_with_a_partial_last_one(path: Path) -> None:
    loader = LoopFMDataLoader(_feature_map(), path, batch_size=2)
    assert (loader.num_samples, loader.num_blocks, loader.num_batches) == (5, 1, 3)
    assert len(loader) == 3
    batches = list(loader)
    assert [b["click"].tolist() for b in batches] == [[0.0, 1.0], [1.0, 0.0], [1.0]]
    first = batches[0]
    assert list(first) == ["item", "price", "tags", "event_id", "click"]
    assert first["item"].tolist() == [3, 1]
    assert first["tags"].tolist() == [[1, 2], [3, 0]]
    assert batches[1]["item"].tolist() == [2, 2**40]
    assert {name: tensor.dtype for name, tensor in first.items()} == {
        "item": torch.int64,
        "price": torch.float32,
        "tags": torch.int64,
        "event_id": torch.int64,
        "click": torch.float64,
    }


def test_every_batch_has_memory_of_its_own(path: Path) -> None:
    loader = LoopFMDataLoader(_feature_map(), path, batch_size=5)
    first, again = next(iter(loader)), next(iter(loader))
    for tensor in first.values():
        tensor.zero_()
    assert again["item"].tolist() == [3, 1, 2, 2**40, 1]
    assert next(iter(loader))["price"].tolist() == [0.5, 1.0, 1.5, 2.0, 2.5]


def _orders(path: Path, seed: int, epochs: int = 2) -> list[list[int]]:
    loader = LoopFMDataLoader(_feature_map(), path, batch_size=2, shuffle=True, seed=seed)
    return [[i for b in loader for i in b["event_id"].tolist()] for _ in range(epochs)]


def test_shuffling_is_a_permutation_fixed_by_seed_and_epoch(path: Path) -> None:
    orders = _orders(path, seed=7, epochs=4)
    assert all(sorted(order) == [10, 11, 12, 13, 14] for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert _orders(path, seed=7, epochs=4) == orders
    assert _orders(path, seed=8, epochs=4) != orders


def test_a_look_at_an_example_is_no_epoch(path: Path) -> None:
    loader = LoopFMDataLoader(_feature_map(), path, batch_size=2, shuffle=True, seed=7)
    example = loader.example()
    assert example["event_id"].tolist() == [10, 11]
    orders = [[i for b in loader for i in b["event_id"].tolist()] for _ in range(2)]
    assert orders == _orders(path, seed=7, epochs=2)


def test_shuffled_columns_stay_aligned(path: Path) -> None:
    loader = LoopFMDataLoader(_feature_map(), path, batch_size=5, shuffle=True, seed=1)
    batch = next(iter(loader))
    assert torch.equal(batch["price"], (batch["event_id"] - 9).float() / 2)


def test_a_window_of_rows(path: Path) -> None:
    loader = LoopFMDataLoader(_feature_map(), path, batch_size=2, loopfm_rows=slice(1, 4))
    assert (loader.num_samples, len(loader)) == (3, 2)
    assert [b["event_id"].tolist() for b in loader] == [[11, 12], [13]]
    with pytest.raises(ConfigError, match="loopfm_rows: expected .* 0 to 5, found 1 to 6"):
        LoopFMDataLoader(_feature_map(), path, loopfm_rows=slice(1, 6))


def test_histories_are_asked_for_the_batch_events(path: Path) -> None:
    history = FakeHistory()
    features = _feature_map(past={"type": "loopfm_sequence"})
    loader = LoopFMDataLoader(features, path, batch_size=3, loopfm_histories={"past": history})
    sizes = [len(batch["past"]) for batch in loader]
    assert history.asked == [[10, 11, 12], [13, 14]]
    assert sizes == [3, 2]


def test_teacher_logits_by_event(path: Path) -> None:
    logit = np.arange(15, dtype=np.float64)
    logit[11] = np.nan
    features = _feature_map(teacher_logit={"type": "meta"})
    loader = LoopFMDataLoader(features, path, batch_size=3, loopfm_teacher_logit=logit)
    batches = [batch["teacher_logit"] for batch in loader]
    assert batches[0].dtype == torch.float32
    np.testing.assert_array_equal(batches[0], [10, np.nan, 12])
    assert batches[1].tolist() == [13, 14]
    with pytest.raises(DataError, match="events up to 14, found 14 values"):
        LoopFMDataLoader(features, path, loopfm_teacher_logit=logit[:14])


def test_breaking_off_ends_the_thread_and_a_new_epoch_starts_over(path: Path) -> None:
    loader = LoopFMDataLoader(_feature_map(), path, batch_size=1)
    for batch in loader:
        assert batch["event_id"].tolist() == [10]
        break
    gc.collect()
    assert not any(thread.name == THREAD_NAME for thread in threading.enumerate())
    assert [b["event_id"].item() for b in loader] == [10, 11, 12, 13, 14]


def test_parts_of_a_folder_are_read_in_name_order(path: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    table = pq.read_table(path)
    for part, name in ((table.slice(3), "part-1"), (table.slice(0, 3), "part-0")):
        pq.write_table(part, parts / f"{name}.parquet")
    loader = LoopFMDataLoader(_feature_map(), parts, batch_size=5)
    assert next(iter(loader))["event_id"].tolist() == [10, 11, 12, 13, 14]


def test_what_is_missing_is_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere.parquet: expected a parquet file"):
        LoopFMDataLoader(_feature_map(), tmp_path / "nowhere.parquet")
    with pytest.raises(DataError, match="train.parquet: expected a column brand, found"):
        LoopFMDataLoader(_feature_map(brand={"type": "categorical"}), path)
    with pytest.raises(DataError, match="column unused: expected encoded numbers, found string"):
        LoopFMDataLoader(_feature_map(unused={"type": "categorical"}), path)
    with pytest.raises(ConfigError, match=r"loopfm_histories: .*\['past'\].* found \[\]"):
        LoopFMDataLoader(_feature_map(past={"type": "loopfm_sequence"}), path)
    with pytest.raises(ConfigError, match="loopfm_teacher_logit: expected an array"):
        LoopFMDataLoader(_feature_map(teacher_logit={"type": "meta"}), path)


def test_histories_need_event_ids(path: Path, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns("event_id"), tmp_path / "plain.parquet")
    features = _feature_map(past={"type": "loopfm_sequence"})
    del features.features["event_id"]
    with pytest.raises(DataError, match="past: expected a column event_id"):
        LoopFMDataLoader(
            features, tmp_path / "plain.parquet", loopfm_histories={"past": FakeHistory()}
        )


def test_ragged_and_null_columns_are_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.parquet"
    features = SimpleNamespace(features={"tags": {"type": "sequence"}}, labels=[])
    pq.write_table(pa.table({"tags": [[1], [2, 3]]}), bad)
    with pytest.raises(DataError, match="tags: expected lists of one length, found 1 to 2"):
        LoopFMDataLoader(features, bad)
    pq.write_table(pa.table({"tags": pa.array([1, None])}), bad)
    with pytest.raises(DataError, match="tags: expected no nulls, found 1"):
        LoopFMDataLoader(features, bad)


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_prepared_sequences_are_gathered_from_the_view(
    prepared: PreparedDataset, params: dict[str, Any], padding: str
) -> None:
    params["feature_cols"][-1]["padding"] = padding
    view = build_view(prepared, params, "teacher")
    feature_map = FeatureMap("tiny_teacher", str(view.folder))
    feature_map.load(str(view.feature_map_path), {"embedding_dim": 4})
    vocabulary = {"a": 1, "b": 2, "c": 3}

    loader = LoopFMDataLoader(feature_map, view.path("log"), batch_size=4)
    rows = torch.cat([batch["item_his"] for batch in loader])

    expected = []
    for text in history_strings(range(6, 12)):
        ids = [vocabulary.get(token, 4) for token in text.split("^") if token]
        pad = [0] * (3 - len(ids))
        expected.append(pad + ids if padding == "pre" else ids + pad)
    assert rows.dtype == torch.int64
    assert rows.tolist() == expected


def test_fuxictr_takes_the_class_as_its_data_loader(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    view = build_view(prepared, params, "teacher")
    feature_map = FeatureMap("tiny_teacher", str(view.folder))
    feature_map.load(str(view.feature_map_path), {"embedding_dim": 4})
    train, valid, test = RankDataLoader(
        feature_map,
        stage="both",
        train_data=str(view.path("train")),
        valid_data=str(view.path("log")),
        test_data=str(view.path("log")),
        batch_size=4,
        shuffle=True,
        seed=3,
        data_loader=LoopFMDataLoader,
        embedding_dim=4,
        num_workers=3,
    )
    assert (len(train), len(valid), len(test)) == (2, 2, 2)
    assert [b["event_id"].tolist() for b in test] == [[6, 7, 8, 9], [10, 11]]
    frame = pd.DataFrame({"events": [i for b in train for i in b["event_id"].tolist()]})
    assert sorted(frame["events"]) == list(range(6))
