"""Rows ``gauc`` and ``int4``: the group AUC, and how well codecs give back embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from fuxictr.metrics import evaluate_metrics
from torch import Tensor, nn

from fuxictr_loopfm.analysis.metrics import _group_auc
from fuxictr_loopfm.compression.autoencoder import AutoencoderSpec, CoTrainer
from fuxictr_loopfm.compression.quantizer import build_codec
from fuxictr_loopfm.store.event_store import EventStore
from tests.bench.rows import Row, interleaved
from tests.bench.settings import Settings

USERS, ROWS = 50_000, 500_000
# FuxiCTR's takes minutes.
GAUC_REPETITIONS = 3
TEACHER_ROWS, EPOCHS, WIDTH, DIM = 120_000, 6, 128, 32
USER_IDS, ITEM_IDS, TASTES = 2_000, 1_000, 8
CODECS = {"int4_kmeans": 0.75, "int4_kmeans_pair": 0.75}


def measure_gauc(settings: Settings) -> Iterator[Row]:
    """Random scores that are a little better than chance."""
    users, rows = (max(20, int(size * settings.fraction)) for size in (USERS, ROWS))
    random = np.random.default_rng([settings.seed, 6])
    group = random.integers(0, users, rows)
    score = random.random(rows)
    label = (random.random(rows) < 0.2 + 0.3 * score).astype(np.float64)

    def theirs() -> float:
        return evaluate_metrics(label, score, ["gAUC"], group)["gAUC"]

    found = _group_auc(label == 1, score, group), theirs()
    if abs(found[0] - found[1]) > 1e-9:
        raise AssertionError(f"gAUC: ours {found[0]}, FuxiCTR's {found[1]}")
    repetitions = min(settings.repetitions, GAUC_REPETITIONS)
    seconds = interleaved(
        repetitions,
        {
            "ours": partial(partial, _group_auc, label == 1, score, group),
            "peer": lambda: theirs,
        },
        warm_up=False,
    )
    yield Row(
        "gauc", "gAUC", "FuxiCTR's gAUC", f"{users:,} users, {rows:,} rows", seconds["ours"],
        seconds["peer"], "s", seconds["peer"] / seconds["ours"], "higher", 200.0, repetitions,
        "equal to 1e-9, checked; FuxiCTR's uses a pool of half the cores",
    )  # fmt: skip


def measure_int4(settings: Settings) -> Iterator[Row]:
    """Embeddings of a small teacher's autoencoder, and of a real store if one is given."""
    yield from _mse_rows(*_teacher_embeddings(settings), "small teacher on a made-up log")
    if settings.store is None:
        note = "not measured: give STORE=<folder of an event store with the codec f32>"
        yield Row("int4", "int4 reconstruction MSE", "int4 uniform", "a real store", note=note)
        return
    store = EventStore.open(settings.store)
    if store.codes.dtype != np.float32:
        raise SystemExit(f"{settings.store}: expected the codec f32, found {store.manifest.codec}")
    by_time = store.codes[1:][np.argsort(store.event_id[1:], kind="stable")]
    half = len(by_time) // 2
    yield from _mse_rows(by_time[:half], by_time[half:], store.manifest.dataset_id)


def _mse_rows(train: np.ndarray, test: np.ndarray, data: str) -> Iterator[Row]:
    theirs = _mse("int4_uniform", train, test)
    for kind, reach in CODECS.items():
        ours = _mse(kind, train, test)
        yield Row(
            "int4", f"{kind}: reconstruction MSE", "int4 uniform", data, ours, theirs, "MSE",
            ours / theirs, "lower", reach, 1,
            f"{DIM} dimensions in 16 bytes; fitted on {len(train):,} earlier rows, measured on "
            f"{len(test):,} later ones",
        )  # fmt: skip


def _mse(kind: str, train: np.ndarray, test: np.ndarray) -> float:
    codec = build_codec(kind, test.shape[1]).fit(train)
    return float(np.square(codec.decode(codec.encode(test)) - test, dtype=np.float64).mean())


def _teacher_embeddings(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """What an autoencoder makes of a hidden layer of a click model, (n, DIM) twice.

    Model and autoencoder learn from the first half of the rows alone.
    """
    rows = max(4_000, int(TEACHER_ROWS * settings.fraction))
    inputs, clicks = _made_up_clicks(rows, settings.seed)
    half = rows // 2
    torch.manual_seed(settings.seed)
    below = nn.Sequential(
        nn.Embedding(USER_IDS + ITEM_IDS, 16), nn.Flatten(), nn.Linear(32, WIDTH), nn.ReLU()
    )
    model = nn.Sequential(below, nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for chosen in (chosen for _ in range(EPOCHS) for chosen in _batches(half)):
        loss = nn.functional.binary_cross_entropy_with_logits(
            model(inputs[chosen]).squeeze(1), clicks[chosen]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def activations(stop: int) -> Iterator[Tensor]:
        with torch.no_grad():
            for chosen in _batches(stop):
                yield below(inputs[chosen])

    width = next(activations(half)).shape[1]
    compressor = CoTrainer(AutoencoderSpec(width, DIM), seed=settings.seed)
    for _ in range(EPOCHS):
        for e in activations(half):
            compressor.step(e)
    with torch.no_grad():
        embedding = torch.cat([compressor.encode(e) for e in activations(rows)]).numpy()
    return embedding[:half], embedding[half:]


def _made_up_clicks(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Ids (rows, 2) of users and items with hidden tastes, and clicks that follow their product."""
    random = np.random.default_rng([seed, 7])
    user, item = random.integers(0, USER_IDS, rows), random.integers(0, ITEM_IDS, rows)
    tastes = random.normal(size=(USER_IDS, TASTES)), random.normal(size=(ITEM_IDS, TASTES))
    clicks = (tastes[0][user] * tastes[1][item]).sum(1) + random.normal(size=rows) > 0
    ids = np.stack([user, USER_IDS + item], axis=1)
    return torch.from_numpy(ids), torch.from_numpy(clicks).float()


def _batches(stop: int) -> Iterator[slice]:
    for start in range(0, stop, 512):
        yield slice(start, min(start + 512, stop))
