"""``loopfm structure``: the event store of an experiment and the pointers into it."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.commands.options import (
    EXPERIMENT_EXAMPLE,
    add_engine,
    add_experiment,
    add_memory_limit,
    workspace,
)

SUMMARY = "Build the event store and the pointers of an experiment."
EXAMPLE = f"loopfm structure {EXPERIMENT_EXAMPLE} --memory-limit 2GiB"


def add_options(parser: argparse.ArgumentParser) -> None:
    """An experiment, who sorts its events, and in how much memory."""
    add_experiment(parser)
    add_engine(parser)
    add_memory_limit(parser)


def run(options: argparse.Namespace) -> None:
    """Build the whole store, or the shards of one share; a whole store gets its pointers."""
    from fuxictr_loopfm.store.describe import describe_store

    found = workspace(options)
    key = found.keys.key or found.prepared.spec.user
    structuring = found.structuring(key)
    how = {
        "engine": options.engine,
        "workers": options.workers,
        "memory_limit": options.memory_limit,
    }
    if options.shard is None:
        structuring.build(**how)
    else:
        missing = structuring.build_share(*options.shard, **how)
        if missing:
            print(f"share built, {len(missing)} others are missing: {structuring.folder}")
            return
    found.point(structuring.require_own(), key)
    print(describe_store(structuring.folder))
