"""``loopfm extract``: the teacher of an experiment and the log of its embeddings."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.commands.options import (
    EXPERIMENT_EXAMPLE,
    add_engine,
    add_experiment,
    workspace,
)

SUMMARY = "Train the teacher if needed and log its embeddings and logits."
EXAMPLE = f"loopfm extract {EXPERIMENT_EXAMPLE} --workers 2"


def add_options(parser: argparse.ArgumentParser) -> None:
    """An experiment, and who logs its events."""
    add_experiment(parser)
    add_engine(parser)


def run(options: argparse.Namespace) -> None:
    """Log all events, or one share of them."""
    extraction = workspace(options).extraction_pass
    how = {"engine": options.engine, "workers": options.workers}
    alone = options.shard is None
    log = extraction.build(**how) if alone else extraction.build_share(*options.shard, **how)
    if log is None:
        print(f"share logged, others are missing: {extraction.folder}")
    else:
        print(f"{len(log.event_id)} events logged, dim {log.manifest.dim}: {log.folder}")
