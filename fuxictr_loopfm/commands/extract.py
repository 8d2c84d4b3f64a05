"""``loopfm extract``: the teacher of an experiment and the log of its embeddings."""

from __future__ import annotations

import argparse

from fuxictr_loopfm.commands import options as shared

SUMMARY = "Train the teacher if needed and log its embeddings and logits."
EXAMPLE = f"loopfm extract {shared.EXPERIMENT_EXAMPLE} --workers 2"


def add_options(parser: argparse.ArgumentParser) -> None:
    """An experiment, and who logs its events."""
    shared.add_experiment(parser)
    shared.add_engine(parser)


def run(options: argparse.Namespace) -> None:
    """Log all events, or one share of them."""
    extraction = shared.workspace(options).extraction_pass
    how = shared.engine_of(options)
    alone = options.shard is None
    log = extraction.build(**how) if alone else extraction.build_share(*options.shard, **how)
    if log is None:
        print(f"share logged, others are missing: {extraction.folder}")
    else:
        print(f"{len(log.event_id)} events logged, dim {log.manifest.dim}: {log.folder}")
