"""A loader's bytes, read in this process, in a forked one and in a spawned one."""

from __future__ import annotations

import hashlib
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from fuxictr_loopfm.host.model import feature_map_of
from fuxictr_loopfm.pipeline.histories import Histories
from fuxictr_loopfm.runs.vertical import Run, loaders
from tests.integration.planted import load

METHODS = ("fork", "spawn")


def train_loader(config: Path, expid: str) -> Any:
    """The training batches of a vertical model's expid, whose artifacts exist."""
    experiment, workspace = load(config, expid)
    histories = Histories(workspace)
    feature_map = feature_map_of(
        experiment, workspace.view, histories.fields, with_teacher_logit=True
    )
    sources = {file: histories.sources(file) for file in ("train", "test")}
    return loaders(Run(experiment, workspace), feature_map, sources)["train"]


def digest(loader: Any) -> str:
    """SHA-256 of everything an epoch delivers."""
    found = hashlib.sha256()
    for batch in loader:
        _add(found, batch)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        found.update(value.contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for name in sorted(value):
            found.update(name.encode())
            _add(found, value[name])
    elif hasattr(value, "__dict__"):
        _add(found, vars(value))
    else:
        found.update(repr(value).encode())


def _send(loader: Any, pipe: Connection) -> None:
    pipe.send(digest(loader))


def compare_workers(config: Path, expid: str) -> None:
    """Compare the three; a forked and a spawned worker get the loader as it is.

    Raises:
        SystemExit: some differ; says which.
    """
    loader = train_loader(config, expid)
    found = {}
    for method in METHODS:
        context = multiprocessing.get_context(method)
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=_send, args=(loader, sender))  # type: ignore[attr-defined]
        worker.start()
        sender.close()
        found[method] = receiver.recv()
        worker.join()
    found["own"] = digest(loader)
    if len(set(found.values())) > 1:
        print(found)
        raise SystemExit(1)
