"""Event stores and history sources over a log, with made-up embeddings."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.compression.codec import Codec
from fuxictr_loopfm.compression.quantizer import build_codec
from fuxictr_loopfm.data.history_source import HistorySource
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.structuring.builder import build_pointers
from tests.bench.logs import MAX_LEN, EventLog
from tests.made_up import store_fields
from tests.store_building import build_store

DIM = 32
BLOCK = 100_000
SPEC = SequenceSpec(max_len=MAX_LEN)


def embeddings(seed: int, rows: int = BLOCK) -> np.ndarray:
    """(rows, DIM) float32 numbers of the shape that a tanh gives."""
    random = np.random.default_rng([seed, 1])
    scale, shift = random.uniform(0.3, 1.5, DIM), random.normal(0.0, 0.4, DIM)
    return np.tanh(random.normal(size=(rows, DIM)) * scale + shift).astype(np.float32)


@lru_cache
def fitted_codec(kind: str, seed: int) -> Codec:
    """A codec for ``embeddings``."""
    return build_codec(kind, DIM).fit(embeddings(seed))


def repeated(block: np.ndarray, rows: int) -> np.ndarray:
    """(rows, w) the block again and again: gathers cost the same whatever the values are."""
    result = np.empty((rows, *block.shape[1:]), block.dtype)
    for start in range(0, rows, len(block)):
        result[start : start + len(block)] = block[: rows - start]
    return result


def write_store(folder: Path, log: EventLog, codec: Codec, seed: int, **options: Any) -> None:
    """Build a store of the log on disk; ``options`` go to ``build_store``."""
    block = codec.encode(embeddings(seed))
    build_store(
        folder,
        manifest_fields=store_fields(codec),
        key=log.user,
        timestamp=log.time,
        event_id=np.arange(len(log)),
        codes=repeated(block, len(log)),
        pad_code=codec.pad_code,
        logit=np.zeros(len(log), np.float32),
        **options,
    )


def pointers_of(store: EventStore, log: EventLog) -> Pointers:
    """History of every impression of the log."""
    return build_pointers(store, log.user, log.time, SPEC)


def with_codec(store: EventStore, codec: Codec, seed: int) -> EventStore:
    """The same events with another codec's codes, in memory only."""
    codes = repeated(codec.encode(embeddings(seed)), store.num_events + 1)
    codes[0] = codec.pad_code
    return replace(store, codes=codes, manifest=replace(store.manifest, codec=codec.to_dict()))


def source(
    store: EventStore, pointers: Pointers, codec: Codec, log: EventLog, **options: Any
) -> HistorySource:
    """Histories of every impression of the log; ``options`` go to ``HistorySource``."""
    return HistorySource(
        store, pointers, codec, sample_time=log.time, spec=SPEC, columns=("embedding",), **options
    )
