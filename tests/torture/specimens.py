"""One small artifact of each kind, and all that its reader gives, as a digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.compression.quantizer import build_codec
from fuxictr_loopfm.data.view import EncodedView
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog, ExtractionManifest
from tests.integration.planted import log_frame, write_log
from tests.made_up import store_fields
from tests.store_building import build_store

EVENTS, KEYS = 60, 6


def small_store(folder: Path, version: int = 0, shards: int = 1) -> None:
    """A store of two-dimensional embeddings.

    Args:
        folder: for the store; one that is there is replaced.
        version: every value of the store says it: number of events, times, codes and logits.
        shards: how many.
    """
    codec = build_codec("int8", 2)
    fields = store_fields(codec, dataset_id=f"small{version}_s1")
    index = np.arange(EVENTS * (1 + version))
    build_store(
        folder, manifest_fields=fields, num_shards=shards, key=index % KEYS, event_id=index,
        timestamp=index + version, codes=np.full((len(index), 2), 1 + version, np.int8),
        pad_code=codec.pad_code, logit=np.full(len(index), version, np.float32),
        side={"label": (index % 2).astype(np.int8)},
    )  # fmt: skip


def small_extraction(folder: Path, version: int = 0, parts: int = 1) -> None:
    """A log of four-dimensional embeddings, filled where it lies, its manifest last."""
    values = {"embedding": np.full((EVENTS, 4), version), "logit": np.full(EVENTS, version)}
    records = [
        ExtractionLog.write_part(
            folder, f"period-{part}", event_id=np.arange(EVENTS) + part * EVENTS,
            meta={"version": version} if version else {},
            **{name: value.astype(np.float32) for name, value in values.items()},
        )
        for part in range(parts)
    ]  # fmt: skip
    teacher = f"teacher{version}"
    manifest = ExtractionManifest(4, ["emb"], teacher, None, [1], [2], tuple(records))
    ExtractionLog.write_manifest(folder, manifest)


def small_log(folder: Path, version: int = 0) -> None:
    """The planted log, or another one of fewer rows."""
    frame = log_frame(seed=7 + version)
    write_log(folder, frame[np.arange(len(frame)) % 4 >= version].reset_index(drop=True))


def read_store(folder: Path, *more: Any) -> str:
    """Every column of a store; ``more`` goes into the digest."""
    store = EventStore.open(folder)
    columns = [store.codes, store.timestamp, store.key_ptr, store.key_id, store.event_id]
    return digest(str(store.manifest), *columns, store.logit, *store.side.values(), *more)


def read_extraction(folder: Path, *more: Any) -> str:
    """Every column of a log."""
    log = ExtractionLog.open(folder)
    return digest(str(log.manifest), log.event_id, log.logit, log.embedding, *more)


def read_log(folder: Path) -> str:
    """All columns and sequences of a prepared planted log."""
    prepared = PreparedDataset.load(folder)
    frame = prepared.frame()
    columns = [frame[name].to_numpy() for name in frame.columns]
    return digest(prepared.fingerprint, *frame.columns, *columns, *prepared.sequence("item_his"))


def read_view(folder: Path) -> str:
    """The vocabulary, some columns and the sequences of an encoded planted log."""
    view = EncodedView.open(folder)
    columns = [view.column(name) for name in ("event_id", "click", "user_id", "price")]
    sequence = view.sequence("item_his")[:3]
    return digest(view.feature_map_path.read_bytes(), str(view.manifest), *columns, *sequence)


def files_of(folder: Path) -> tuple[Path, ...]:
    """Its files, without locks."""
    return tuple(p for p in sorted(folder.iterdir()) if p.is_file() and p.name[0] != ".")


def digest(*values: Any) -> str:
    """SHA-256 over arrays, texts and bytes."""
    found = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            plain = value.tolist() if value.dtype.hasobject else np.ascontiguousarray(value)
            value = f"{value.dtype} {value.shape}".encode() + (
                repr(plain).encode() if isinstance(plain, list) else plain.tobytes()
            )
        found.update(value if isinstance(value, bytes) else str(value).encode())
        found.update(b"\0")
    return found.hexdigest()
