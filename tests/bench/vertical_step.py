"""Rows ``vertical``: one training step of a small model with a history, against without."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuxictr_loopfm.config.zoo import load_model_class
from fuxictr_loopfm.data.dataloader import LoopFMDataLoader
from fuxictr_loopfm.host import history_fields
from fuxictr_loopfm.host.shared_history import HistoryField
from fuxictr_loopfm.layers.base import EncoderSpec
from fuxictr_loopfm.store.event_store import EventStore
from tests.bench import exported, stores
from tests.bench.exported import FIELDS, HISTORY
from tests.bench.logs import MAX_LEN, EventLog
from tests.bench.rows import Row, Thunk, interleaved
from tests.bench.settings import NO_KUAIRAND, Settings

SECTION = "vertical"
BATCH, BATCHES = 2048, 6
ZOO = Path(__file__).resolve().parents[2] / "model_zoo"
TOWERS = ([512, 256, 128], [128, 64])
POOLING_REACH, DMIN_REACH = 1.15, 3.0
PARAMS: dict[str, Any] = {
    "gpu": -1,
    "model_id": "bench",
    "model_root": "unused",
    "metrics": ["AUC"],
    "verbose": 0,
    "embedding_dim": 16,
    "optimizer": "adam",
    "loss": "binary_crossentropy",
    "learning_rate": 1e-3,
}


def measure(settings: Settings) -> Iterator[Row]:
    """DeepFM through the host, on the stated mix and on the real lengths."""
    yield from _on(settings, settings.main_log, {"mean": POOLING_REACH, "sum": POOLING_REACH,
                                                 "dmin": None})  # fmt: skip
    if settings.real_log is None:
        for encoder in ("mean", "sum", "dmin"):
            yield Row(SECTION, _what(encoder), "without histories", "KuaiRand", note=NO_KUAIRAND)
        return
    reach = {"mean": POOLING_REACH, "sum": POOLING_REACH, "dmin": DMIN_REACH}
    yield from _on(settings, settings.real_log, reach)


def _what(encoder: str) -> str:
    return f"VM step, {encoder} encoder"


def _on(settings: Settings, log: EventLog, encoders: dict[str, float | None]) -> Iterator[Row]:
    codec = stores.fitted_codec("int4_kmeans", settings.seed)
    folder = settings.scratch / f"vertical-{log.name}"
    folder.mkdir()
    stores.write_store(folder / "store", log, codec, settings.seed)
    store = EventStore.open(folder / "store")
    pointers = stores.pointers_of(store, log)
    size = max(32, int(BATCH * settings.fraction))
    rows = min(max(1, int(BATCHES * settings.fraction)) * size, len(log) // 2)
    first = (len(log) - rows) // 2
    path = folder / "samples.parquet"
    exported.write_samples(path, np.arange(first, first + rows), settings.seed)

    def loader(encoder: str | None) -> LoopFMDataLoader:
        feature_map = exported.feature_map(with_history=encoder is not None)
        # As an experiment asks for it: shared runs where an encoder works event by event.
        share = encoder not in ("mean", "sum")
        sources = {} if encoder is None else {
            HISTORY: stores.source(store, pointers, codec, log, delivery="ragged", share=share)
        }  # fmt: skip
        return LoopFMDataLoader(feature_map, path, batch_size=size, loopfm_histories=sources)

    for hidden_units in TOWERS:
        names = [None, *encoders]
        candidates = {
            name: partial(_steps, _model(name, hidden_units, settings.seed), loader(name))
            for name in names
        }
        seconds = interleaved(settings.repetitions, candidates)
        step = {name: value * size / rows * 1e3 for name, value in seconds.items()}
        for encoder, reach in encoders.items():
            yield Row(
                SECTION, f"{_what(encoder)}, MLP {'-'.join(map(str, hidden_units))}",
                "without histories", log.name, step[encoder], step[None], "ms/step",
                step[encoder] / step[None], "lower", reach, settings.repetitions,
                f"DeepFM through the host, {len(FIELDS)} fields of width 16, B = {size}, L = "
                f"{MAX_LEN}, int4 embeddings end to end, time order; forward, backward and Adam "
                "on ready batches",
            )  # fmt: skip


def _model(encoder: str | None, hidden_units: list[int], seed: int) -> Any:
    """DeepFM, with a history if an encoder is named."""
    fields = [] if encoder is None else [
        HistoryField(
            name=HISTORY,
            columns=("embedding",),
            embedding_dim=stores.DIM,
            id_columns=(),
            query_columns=() if encoder in ("mean", "sum") else FIELDS[-2:],
            encoder=EncoderSpec(encoder, dim=32, max_len=MAX_LEN),
        )
    ]  # fmt: skip
    feature_map = exported.feature_map(with_history=encoder is not None)
    feature_map.default_emb_dim = PARAMS["embedding_dim"]
    history_fields.prepare_feature_map(feature_map, fields, with_teacher_logit=False)
    torch.manual_seed(seed)
    model_class = load_model_class("DeepFM", [ZOO])[0]
    params = {**PARAMS, "hidden_units": hidden_units}
    model: Any = history_fields.build_model(model_class, feature_map, params, fields)[0]
    model._max_gradient_norm = 10.0
    return model.train()


def _steps(model: Any, loader: LoopFMDataLoader) -> Thunk:
    """Fresh batches, since histories keep what a model works out once."""
    batches = list(loader)

    def run() -> None:
        for batch in batches:
            model.train_step(batch)

    return run
