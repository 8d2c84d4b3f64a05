"""A loader with histories reads the same in this process and in forked and spawned ones."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consumers import plain, send_all

from fuxictr_loopfm.data.dataloader import LoopFMDataLoader
from fuxictr_loopfm.data.history_source import HistorySource
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.structuring.builder import build_pointers
from tests.made_up import store_fields
from tests.store_building import build_store

EVENTS = 40


@pytest.fixture
def loader(tmp_path: Path) -> LoopFMDataLoader:
    random = np.random.default_rng(0)
    user, item = random.integers(0, 3, EVENTS), random.integers(1, 9, EVENTS)
    time = np.arange(EVENTS)
    fields = store_fields(dim=0, codec={"kind": "none", "dim": 0, "pad_code": []})
    build_store(
        tmp_path / "store", manifest_fields=fields, key=user, timestamp=time,
        event_id=np.arange(EVENTS), codes=None, pad_code=np.zeros(0, np.uint8),
        logit=np.zeros(EVENTS, np.float32),
    )  # fmt: skip
    store, spec = EventStore.open(tmp_path / "store"), SequenceSpec(max_len=5)
    source = HistorySource(
        store, build_pointers(store, user, time, spec), None, sample_time=time, spec=spec,
        columns=("ids",), ids={"item": item}, share=True,
    )  # fmt: skip
    table = pa.table({"item": item, "event_id": np.arange(EVENTS), "click": np.ones(EVENTS)})
    pq.write_table(table, tmp_path / "train.parquet")
    features = {
        "item": {"type": "categorical"},
        "event_id": {"type": "meta"},
        "past": {"type": "loopfm_sequence"},
    }
    return LoopFMDataLoader(
        SimpleNamespace(features=features, labels=["click"]), tmp_path / "train.parquet",
        batch_size=7, shuffle=True, loopfm_histories={"past": source}, seed=3,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_equivalence(loader: LoopFMDataLoader, method: str) -> None:
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=send_all, args=(loader, sender))
    worker.start()
    sender.close()
    found = receiver.recv()
    worker.join()
    assert worker.exitcode == 0
    # A worker has a copy, so both are at their first epoch.
    assert found == plain(loader)
    assert sum(len(batch["past_item"]) for batch in found) > EVENTS
