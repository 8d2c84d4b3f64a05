"""Artifacts of two versions that replace each other while others read them.

Every value of an artifact says its version, so a reader can tell a mix.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fuxictr_loopfm.errors import DataError, StoreError
from fuxictr_loopfm.prepared.dataset import (
    Column,
    DatasetSpec,
    Periods,
    PreparedDataset,
    write_prepared,
)
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog, ExtractionManifest
from fuxictr_loopfm.structuring.builder import build_store

ROWS, PARTS = 200, 3
OLD, NEW, REFUSED, MIX = "old", "new", "refused", "mix"


@dataclass(frozen=True)
class Replaced:
    """A kind of artifact.

    Attributes:
        name: of the kind.
        write: puts version 0 or 1 in place of whatever is there.
        read: "old", "new" or "mix"; "refused" where a reader may say that it is incomplete.
        may_refuse: whether it may: only a folder that is rebuilt where it lies.
    """

    name: str
    write: Callable[[Path, int], None]
    read: Callable[[Path], str]
    may_refuse: bool = False


def _verdict(version: int, *agree: bool) -> str:
    return (OLD, NEW)[version] if all(agree) else MIX


def _write_store(folder: Path, version: int) -> None:
    rows = ROWS * (1 + version)
    empty = ("teacher_train_periods", "compressor_fit_periods", "quantizer_fit_periods")
    provenance = {
        **dict.fromkeys(empty, []),
        **dict.fromkeys(("teacher_fingerprint", "compressor_fingerprint")),
        "logged_periods": [1],
    }
    fields = {
        "dataset_id": f"version{version}_s1",
        "dataset_fingerprint": "d" * 16,
        "dim": 2,
        "codec": {"kind": "int8", "pad_code": [0, 0]},
        "time_unit": "s",
        "key": "user",
        "taps": [],
        "event_filter": None,
        "backfill": False,
        "provenance": provenance,
    }
    build_store(
        folder,
        manifest_fields=fields,
        key=np.arange(rows) % 7,
        timestamp=np.full(rows, version),
        src_row=np.arange(rows),
        codes=np.full((rows, 2), version, np.int8),
        pad_code=np.zeros(2, np.int8),
        logit=np.full(rows, version, np.float32),
        num_shards=2 + version,
    )


def _read_store(folder: Path) -> str:
    store = EventStore.open(folder)
    version = int(store.manifest.dataset_id[len("version")])
    return _verdict(
        version,
        store.num_events == ROWS * (1 + version),
        len(store.manifest.shards) == 2 + version,
        bool((store.codes[1:] == version).all() and (store.logit[1:] == version).all()),
        bool((store.timestamp[1:] == version).all()),
    )


def _write_prepared(folder: Path, version: int) -> None:
    rows = np.arange(ROWS * (1 + version))
    frame = pd.DataFrame(
        {
            "timestamp": rows,
            "period": rows * 4 // len(rows) + 1,
            "clk": rows % 2,
            "user": f"u{version}",
            "item": f"i{version}",
        }
    )
    spec = DatasetSpec(
        dataset_id=f"version{version}_s1",
        label="clk",
        user="user",
        item="item",
        time_unit="ordinal",
        columns=(Column("user"), Column("item")),
        periods=Periods.split(4, 1),
        period_rule="rows",
        source="made up",
    )
    write_prepared(folder, spec, frame)


def _read_prepared(folder: Path) -> str:
    prepared = PreparedDataset.load(folder)
    version = int(prepared.spec.dataset_id[len("version")])
    try:
        frame = prepared.frame()
    except DataError as error:
        if "another data set took its place" in str(error):
            return _verdict(version)  # opened, and replaced before it was read: says so
        raise
    return _verdict(
        version,
        len(frame) == prepared.spec.rows == ROWS * (1 + version),
        bool((frame["user"] == f"u{version}").all() and (frame["item"] == f"i{version}").all()),
    )


def _write_extraction(folder: Path, version: int) -> None:
    """As after somebody deleted the folder: it is filled where it lies, its manifest last."""
    shutil.rmtree(folder, ignore_errors=True)
    parts = tuple(
        ExtractionLog.write_part(
            folder,
            f"period-{part}",
            np.arange(ROWS) + part * ROWS,
            np.full((ROWS, 2), version, np.float32),
            np.full(ROWS, version, np.float32),
            {"version": version},
        )
        for part in range(PARTS)
    )
    manifest = ExtractionManifest(2, ["hidden_0"], f"teacher{version}", None, [1], [2], parts)
    ExtractionLog.write_manifest(folder, manifest)


def _read_extraction(folder: Path) -> str:
    try:
        log = ExtractionLog.open(folder)
        version = int(log.manifest.teacher_fingerprint[len("teacher")])
        embedding = log.embedding
    except StoreError:
        return REFUSED
    return _verdict(version, bool((embedding == version).all()), bool((log.logit == version).all()))


KINDS = (
    Replaced("event store", _write_store, _read_store),
    Replaced("prepared data set", _write_prepared, _read_prepared),
    Replaced("extraction", _write_extraction, _read_extraction, may_refuse=True),
)
