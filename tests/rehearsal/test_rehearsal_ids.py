"""Ids in TaobaoAd's schema, chunk by chunk, are those of FuxiCTR on written-out histories."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import yaml

from fuxictr_loopfm.data import processor, transform
from fuxictr_loopfm.data.encode import EncodedView, build_view
from fuxictr_loopfm.data.ragged import padded_rows
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from tests.rehearsal.raw_log import Size, write_raw
from tests.rehearsal.rehearsal_configs import write_configs
from tests.rehearsal.stages import DATASET_ID
from tests.unit.data.fuxictr_build import fuxictr_build

ROOT = Path(__file__).resolve().parents[2]
HISTORIES = ("cate_his", "brand_his", "btag_his")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared log of five thousand impressions and the rehearsal's configurations."""
    work = tmp_path_factory.mktemp("rehearsal")
    write_raw(work / "raw", Size.scaled(0.0002, 100), seed=5)
    log = work / "raw" / "behavior_log.csv"
    header, *lines = log.read_text(encoding="utf-8").splitlines()
    lines[::7] = [line.rpartition(",")[0] + "," for line in lines[::7]]  # without a brand
    log.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "data_prep" / "taobao_ad.py")]
    command += ["--data", str(work / "raw"), "--out", str(work / "prepared" / DATASET_ID)]
    subprocess.run(command, check=True, capture_output=True)
    write_configs(work)
    return work


def params_of(work: Path) -> dict[str, Any]:
    """FuxiCTR params of the vertical view."""
    text = (work / "configs" / "dataset_config.yaml").read_text(encoding="utf-8")
    params: dict[str, Any] = yaml.safe_load(text)[DATASET_ID]
    columns = [c for c in params["feature_cols"] if c["type"] != "loopfm_sequence"]
    return params | {"dataset_id": DATASET_ID, "feature_cols": columns}


def written_out(prepared: PreparedDataset) -> pd.DataFrame:
    """All events with each history as FuxiCTR reads it: one text per event."""
    frame = prepared.frame()
    for name in HISTORIES:
        values, end, length = prepared.sequence(name)
        texts = [value.decode() for value in values]
        windows = zip(end.tolist(), length.tolist(), strict=True)
        frame[name] = ["^".join(texts[stop - size : stop]) for stop, size in windows]
    return frame


def reference(
    prepared: PreparedDataset, view: EncodedView, params: dict[str, Any], root: Path
) -> Any:
    """What FuxiCTR makes of csv files of the view's splits."""
    frame, files = written_out(prepared), {}
    for split in ("warmup", "train", "test"):
        files[split] = root / f"{split}.csv"
        frame.iloc[view.rows(split)].to_csv(files[split], index=False)
    group = {"name": "group_id", "active": True, "dtype": "str", "type": "meta"}
    columns = [*params["feature_cols"], group | {"preprocess": "copy_from(userid)"}]
    return fuxictr_build(
        params | {"feature_cols": columns, "data_root": str(root / "fuxictr")}, files
    )


def test_ids_of_taobaoad_equal_those_of_fuxictr(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CHUNK_ROWS", 700)
    monkeypatch.setattr(transform, "CHUNK_BYTES", 1 << 12)
    prepared, params = PreparedDataset.load(work / "prepared" / DATASET_ID), params_of(work)

    view = build_view(prepared, params, "vertical")

    _, vocabulary, columns = reference(prepared, view, params, work)
    assert json.loads((view.folder / "feature_vocab.json").read_text()) == vocabulary
    for name in [c.name for c in prepared.spec.columns] + ["group_id", "clk"]:
        for split, expected in columns.items():
            found = view.column(name)[view.rows(split)]
            np.testing.assert_array_equal(found, expected[name], err_msg=f"{split} {name}")
    for name in HISTORIES:
        codes, end, length, max_len = view.sequence(name)
        padded = padded_rows(np.concatenate([[0], codes]), end, length, max_len, view.padding(name))
        for split, expected in columns.items():
            found = padded[view.rows(split)]
            np.testing.assert_array_equal(found, expected[name], err_msg=f"{split} {name}")
    # Both kinds of gap are in it: an empty history, and a place without a brand.
    assert (view.sequence("brand_his").length == 0).any()
    assert (view.sequence("brand_his").codes == 0).any()
    assert not ray.is_initialized()
