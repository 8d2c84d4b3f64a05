"""The summary names what a user wants to know about a store."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_store import build, manifest_fields

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.store.describe import describe_store


def test_a_small_store_in_words(tmp_path):
    # Keys with 1, 2 and 3 events.
    manifest = build(tmp_path / "store", num_shards=2, key=np.array([1, 2, 2, 3, 3, 3]))
    text = describe_store(tmp_path / "store")
    found = {
        name.strip(): value.strip()
        for name, value in (line.split("  ", 1) for line in text.splitlines() if "  " in line[2:])
        if name.strip()
    }
    assert found["data set"] == f"tiny_s1 ({'d' * 16})"
    assert found["key"] == "user (int64)"
    assert found["events"] == "6" and found["keys"] == "3"
    assert found["events per key"] == "mean 2.0, p0 1, p25 1, p50 2, p75 3, p95 3, p100 3"
    assert found["time span"] == (
        "100 to 200 (s), as Unix time 1970-01-01T00:01:40 to 1970-01-01T00:03:20 UTC"
    )
    assert found["dim"] == "4" and found["codec"] == "int4_uniform (uint8)"
    assert found["bytes per event"].startswith("2 (codes), ")
    assert found["side columns"] == "label (|i1)" and found["taps"] == "hidden_0"
    assert found["teacher"] == f"{'7' * 16}, trained on periods 1, 2"
    assert found["compressor"] == f"{'8' * 16}, fitted on periods 1, 2"
    assert found["logged periods"] == "3, 4"
    for shard in manifest.shards:
        assert f"{shard.file}  {shard.rows:,} events" in text and shard.sha256[:16] in text


def test_an_empty_backfilled_store_in_words(tmp_path):
    none = np.empty(0, np.int64)
    fields = manifest_fields(backfill=True, time_unit="ordinal", event_filter="label == 1")
    build(
        tmp_path / "store",
        fields=fields,
        key=none,
        timestamp=none,
        event_id=none,
        codes=np.empty((0, 2), np.uint8),
        logit=np.empty(0, np.float32),
        side={},
    )
    text = describe_store(tmp_path / "store")
    assert "no events" in text and "3, 4 (backfill)" in text and "label == 1" in text


def test_a_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no complete event store"):
        describe_store(tmp_path)
