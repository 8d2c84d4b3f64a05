"""``loopfm structure``: the event store of an experiment and the pointers into it."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.commands import options as shared

SUMMARY = "Build the event store and the pointers of an experiment."
EXAMPLE = f"loopfm structure {shared.EXPERIMENT_EXAMPLE} --memory-limit 2GiB"


def add_options(parser: argparse.ArgumentParser) -> None:
    """An experiment, who sorts its events, and in how much memory."""
    shared.add_experiment(parser)
    shared.add_engine(parser)
    shared.add_memory_limit(parser)


def run(options: argparse.Namespace) -> None:
    """Build the whole store, or the shards of one share; a whole store gets its pointers."""
    from fuxictr_loopfm.store.describe import describe_store

    found = shared.workspace(options)
    key = found.keys.key or found.prepared.spec.user
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
