"""Rows ``encoder``: one training step of the DMIN encoder, against padded ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fuxictr_loopfm.layers.base import EncoderSpec
from fuxictr_loopfm.layers.history import HistoryEncoder
from fuxictr_loopfm.store.event_store import EventStore
from tests.bench import stores
from tests.bench.logs import MAX_LEN, EventLog
from tests.bench.peers import PaddedHistory
from tests.bench.rows import Row, Thunk, interleaved
from tests.bench.settings import NO_KUAIRAND, Settings

SECTION = "encoder"
BATCH, BATCHES = 2048, 4
QUERY_DIM, DIM = 32, 32
PEERS = {"plain masked-matmul DMIN, padded": 4.0, "plain SDPA, padded": 2.2}
WHAT = "DMIN-encoder training step"

# What a module reads of a batch: (history,) or (embedding, mask).
Inputs = tuple[Any, ...]


def measure(settings: Settings) -> Iterator[Row]:
    """The stated mix and the real lengths, each in time order and shuffled."""
    logs = [settings.main_log]
    if settings.real_log is None:
        yield Row(SECTION, WHAT, "plain DMIN, padded", "KuaiRand", note=NO_KUAIRAND)
    else:
        logs.append(settings.real_log)
    for log in logs:
        yield from _on(settings, log)


def _on(settings: Settings, log: EventLog) -> Iterator[Row]:
    codec = stores.fitted_codec("int4_kmeans", settings.seed)
    folder = settings.scratch / f"encoder-{log.name}"
    stores.write_store(folder, log, codec, settings.seed)
    store = EventStore.open(folder)
    pointers = stores.pointers_of(store, log)
    ours = stores.source(store, pointers, codec, log, delivery="ragged", share=True)
    padded = stores.source(store, pointers, codec, log, delivery="padded")

    size = max(32, int(BATCH * settings.fraction))
    rows = min(max(1, int(BATCHES * settings.fraction)) * size, len(log) // 2)
    random = np.random.default_rng([settings.seed, 8])
    first = (len(log) - rows) // 2
    orders = {
        "time order": np.arange(first, first + rows),
        "shuffled": random.choice(len(log), rows, replace=False),
    }
    query = torch.from_numpy(random.normal(size=(size, QUERY_DIM)).astype(np.float32))
    for order, events in orders.items():
        modules = _modules(settings.seed)
        batches = np.split(events, rows // size)
        reads: dict[str, Callable[[np.ndarray], Inputs]] = dict.fromkeys(
            PEERS, partial(_padded_inputs, padded)
        )
        reads["ours"] = lambda rows: (ours.batch(rows),)
        _check_equal(modules, reads, batches[0], query)
        seconds = interleaved(
            settings.repetitions,
            {name: partial(_steps, modules[name], reads[name], batches, query) for name in modules},
        )
        step = {name: value / len(batches) * 1e3 for name, value in seconds.items()}
        for peer, reach in PEERS.items():
            yield Row(
                SECTION, f"{WHAT}, {order}", peer, log.name, step["ours"], step[peer], "ms/step",
                step[peer] / step["ours"], "higher", reach, settings.repetitions,
                f"forward, backward and Adam on ready batches, B = {size}, D = {DIM}, 4 heads, "
                f"L = {MAX_LEN}; equal outputs, checked; ours end to end with shared runs",
            )  # fmt: skip


def _modules(seed: int) -> dict[str, nn.Module]:
    """Ours and the peers with the same weights."""
    torch.manual_seed(seed)
    ours = HistoryEncoder(
        embedding_dim=stores.DIM, use_label=False, use_log_age=False, id_dims={},
        query_dim=QUERY_DIM, encoder=EncoderSpec("dmin", DIM, MAX_LEN),
    )  # fmt: skip
    modules: dict[str, nn.Module] = {"ours": ours}
    for name in PEERS:
        peer = PaddedHistory(stores.DIM, QUERY_DIM, DIM, fused="SDPA" in name)
        peer.load_state_dict(ours.state_dict())
        modules[name] = peer
    return modules


def _padded_inputs(source: Any, events: np.ndarray) -> Inputs:
    """Embeddings (B, L, d) and mask, padded to L however long the batch's longest history is."""
    batch = source.batch(events)
    missing = MAX_LEN - batch.mask.shape[1]
    embedding = nn.functional.pad(batch.embedding, (0, 0, missing, 0))
    return embedding, nn.functional.pad(batch.mask, (missing, 0))


def _apply(module: nn.Module, inputs: Inputs, query: Tensor) -> Tensor:
    if len(inputs) == 1:
        return module(*inputs, None, query)
    return module(*inputs, query)


def _check_equal(
    modules: dict[str, nn.Module],
    reads: dict[str, Callable[[np.ndarray], Inputs]],
    events: np.ndarray,
    query: Tensor,
) -> None:
    with torch.no_grad():
        outputs = {name: _apply(modules[name], reads[name](events), query) for name in modules}
    for name in PEERS:
        torch.testing.assert_close(outputs[name], outputs["ours"], rtol=1e-3, atol=1e-4)


def _steps(
    module: nn.Module,
    read: Callable[[np.ndarray], Inputs],
    batches: list[np.ndarray],
    query: Tensor,
) -> Thunk:
    """Fresh batches, since ours keep what they work out once."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    inputs = [read(batch) for batch in batches]

    def run() -> None:
        for given in inputs:
            optimizer.zero_grad()
            _apply(module, given, query).square().mean().backward()
            optimizer.step()

    return run
