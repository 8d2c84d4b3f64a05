"""``loopfm structure``: the event store of an experiment and the pointers into it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fuxictr_loopfm.commands import options as shared

if TYPE_CHECKING:
    from fuxictr_loopfm.pipeline.workspace import Workspace

SUMMARY = "Build the event stores and the pointers of an experiment."
EXAMPLE = f"loopfm structure {shared.EXPERIMENT_EXAMPLE} --memory-limit 2GiB"


def add_options(parser: argparse.ArgumentParser) -> None:
    """An experiment, who sorts its events, and in how much memory."""
    shared.add_experiment(parser)
    shared.add_engine(parser)
    shared.add_memory_limit(parser)


def run(options: argparse.Namespace) -> None:
    """A store for each key that a history of the experiment has, one after the other."""
    found = shared.workspace(options)
    default = found.keys.key or found.prepared.spec.user
    keys = found.experiment.columns.history_entities(default).values()
    for key in dict.fromkeys(keys or [default]):
        _build(found, key, options)


def _build(found: Workspace, key: str, options: argparse.Namespace) -> None:
    """Build the whole store, or the shards of one share; a whole store gets its pointers."""
    from fuxictr_loopfm.store.describe import describe_store

    structuring = found.structuring(key)
    how = {**shared.engine_of(options), "memory_limit": options.memory_limit}
    if options.shard is None:
        structuring.build(**how)
    else:
        missing = structuring.build_share(*options.shard, **how)
        if missing:
            print(f"share built, {len(missing)} others are missing: {structuring.folder}")
            return
    found.point(structuring.require_own(), key)
    print(describe_store(structuring.folder))
