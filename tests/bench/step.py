"""Rows ``step``: a training step of DeepFM as its embedding tables grow, dense, sparse and lazy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from torch import Tensor, nn

from fuxictr_loopfm.config.zoo import load_model_class
from fuxictr_loopfm.host import history_fields
from fuxictr_loopfm.host.table_optimizer import attach_tables
from fuxictr_loopfm.tables.arena import Arena, Lookup
from fuxictr_loopfm.tables.rules import Adam
from tests.bench.rows import Row, Thunk, interleaved
from tests.bench.settings import Settings
from tests.bench.vertical_step import PARAMS, ZOO

SECTION = "step"
BATCH, WIDTH, STEPS = 256, 16, 100
TABLE_ROWS = (10**4, 10**5, 10**6, 10**7)
CHOICES = ("dense", "sparse", "lazy")
# Users, items, and eight fields as small as a weekday or a category.
SMALL_FIELDS = tuple(int(size) for size in np.geomspace(8, 800, 8))
REACH = {10**5: 5.0, 10**6: 40.0, 10**7: 300.0}
GROWTH_REACH, LAZY_REACH, EXACT_REACH = 1.3, 1.5, 1e-6
EXACT_ROWS, EXACT_STEPS = 2_000, 2_000
# Gaps of all lengths are there before the clock starts, and the steps that are special are over.
WARM_STEPS = 300
NOTE = (
    f"DeepFM of the model zoo through the host, MLP 128-64, {2 + len(SMALL_FIELDS)} fields, width "
    f"{WIDTH} and their first-order weights, B = {BATCH}, skewed ids, fresh batches; forward, "
    f"backward, clipping and Adam, one thread, after {WARM_STEPS} steps"
)


def measure(settings: Settings) -> Iterator[Row]:
    """Steps at every size up to ``10^7 * scale / 5`` rows, then how exact they are."""
    sizes = [size for size in TABLE_ROWS if size <= max(10**4, 2e6 * settings.scale)]
    sparse: dict[int, float] = {}
    for size in sizes:
        step = _milliseconds(settings, size)
        sparse[size] = step["sparse"]
        yield _row(settings, "sparse step", "FuxiCTR's dense step", size, step["sparse"],
                   step["dense"], step["dense"] / step["sparse"], "higher",
                   REACH.get(size))  # fmt: skip
        yield _row(settings, "sparse step", "lazy step", size, step["sparse"], step["lazy"],
                   step["sparse"] / step["lazy"], "lower", LAZY_REACH)  # fmt: skip
    first, last = sizes[0], sizes[-1]
    reach = GROWTH_REACH if last == 10**7 else None
    yield _row(settings, "sparse step", f"itself at {first:,} rows", last, sparse[last],
               sparse[first], sparse[last] / sparse[first], "lower", reach)  # fmt: skip
    yield from _exactness(settings)


def _row(
    settings: Settings, what: str, against: str, size: int, ours: float, peer: float,
    ratio: float, better: str, reach: float | None,
) -> Row:  # fmt: skip
    return Row(SECTION, what, against, f"{size:,} table rows", ours, peer, "CPU ms/step", ratio,
               better, reach, settings.repetitions, NOTE)  # fmt: skip


def _milliseconds(settings: Settings, size: int) -> dict[str, float]:
    """Of one step, by choice; the three models take turns."""
    # A dense step over 10^7 rows takes seconds.
    steps = {choice: STEPS for choice in CHOICES}
    steps["dense"] = max(1, min(STEPS, 10**7 // size))
    random = np.random.default_rng(settings.seed)
    models = {choice: table_model(size, choice, settings.seed) for choice in CHOICES}
    for choice, model in models.items():
        warm = WARM_STEPS if choice != "dense" else 2
        for batch in batches(size, warm, random):
            model.train_step(batch)
    candidates = {
        choice: partial(_steps, model, size, steps[choice], random)
        for choice, model in models.items()
    }
    seconds = interleaved(settings.repetitions, candidates, warm_up=False, clock=time.process_time)
    return {choice: value / steps[choice] * 1e3 for choice, value in seconds.items()}


def _steps(model: Any, size: int, steps: int, random: np.random.Generator) -> Thunk:
    ready = list(batches(size, steps, random))

    def run() -> None:
        for batch in ready:
            model.train_step(batch)

    return run


def vocabulary(size: int) -> dict[str, int]:
    """Fields by name; ``size`` table rows in all."""
    large = size - sum(SMALL_FIELDS)
    fields = {"user": large * 3 // 4, "item": large - large * 3 // 4}
    return fields | {f"small_{n}": rows for n, rows in enumerate(SMALL_FIELDS)}


def batches(size: int, count: int, random: np.random.Generator) -> Iterator[dict[str, Tensor]]:
    """Made-up batches; half of the ids are among the first eighth of a table's rows."""
    fields = vocabulary(size)
    for _ in range(count):
        ids = {
            name: torch.from_numpy((1 + (rows - 1) * random.random(BATCH) ** 3).astype(np.int64))
            for name, rows in fields.items()
        }
        yield ids | {"click": torch.from_numpy(random.integers(0, 2, BATCH).astype(np.float32))}


def table_model(size: int, choice: str, seed: int) -> Any:
    """DeepFM with ``size`` table rows of width 16, in training."""
    feature_map = FeatureMap("bench", "unused")
    for name, rows in vocabulary(size).items():
        feature_map.features[name] = {
            "source": "", "type": "categorical", "vocab_size": rows, "padding_idx": 0
        }  # fmt: skip
    feature_map.labels, feature_map.default_emb_dim = ["click"], WIDTH
    history_fields.prepare_feature_map(feature_map, [], with_teacher_logit=False)
    torch.manual_seed(seed)
    params = {**PARAMS, "hidden_units": [128, 64]}
    model_class = load_model_class("DeepFM", [ZOO])[0]
    model: Any = history_fields.build_model(model_class, feature_map, params, [])[0]
    model._max_gradient_norm = 10.0
    attach_tables(model, choice)
    return model.train()


def _exactness(settings: Settings) -> Iterator[Row]:
    """Weights after many steps on given gradients, against the dense run in float64."""
    exact = _given_gradients(settings.seed, "float64")
    dense = _given_gradients(settings.seed, "float32")
    sparse = _given_gradients(settings.seed, "sparse")
    scale = float(exact.abs().max())
    ours, peer = (float((each - exact).abs().max()) / scale for each in (sparse, dense))
    note = (
        f"Adam on one table of {EXACT_ROWS:,} rows, {EXACT_STEPS:,} steps, gradients of sizes 1e-6 "
        "to 10; largest difference over the largest weight; the ratio column is our difference"
    )
    for what, against, mine, theirs, reach in (
        ("sparse run, difference to dense in float64", "dense float32 run's own", ours, peer,
         EXACT_REACH),
        ("sparse run, difference to dense in float32", "dense float32 run to float64",
         float((sparse - dense).abs().max()) / scale, peer, None),
    ):  # fmt: skip
        yield Row(SECTION, what, against, "given gradients", mine, theirs, "of the scale", mine,
                  "lower", reach, 1, note)  # fmt: skip


def _given_gradients(seed: int, how: str) -> Tensor:
    """(N, w) float64, the table after the steps."""
    random = np.random.default_rng([seed, 3])
    torch.manual_seed(seed)
    table = nn.Embedding(EXACT_ROWS, WIDTH)
    arena = Arena([table], Adam(1e-3)) if how == "sparse" else None
    if how == "float64":
        table = table.double()
    optimizer = torch.optim.Adam(table.parameters(), lr=1e-3)
    for _ in range(EXACT_STEPS):
        ids = torch.from_numpy((EXACT_ROWS * random.random(BATCH // 8) ** 4).astype(np.int64))
        grad = random.normal(0, 10.0 ** random.uniform(-6, 1), (len(ids), WIDTH))
        given = torch.from_numpy(grad).float()
        if arena is None:
            whole = torch.zeros(EXACT_ROWS, WIDTH).index_add_(0, ids, given)
            table.weight.grad = whole.to(table.weight.dtype)
            optimizer.step()
            continue
        rows, inverse = arena.distinct(ids)
        arena.catch_up(rows)
        arena.step(*arena.gradients([Lookup(rows, inverse, given)]), [0])
    if arena is not None:
        arena.flush()
    return table.weight.detach().double()
