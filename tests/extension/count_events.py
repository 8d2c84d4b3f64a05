"""A command of another package: ``loopfm count-events STORE``."""

from __future__ import annotations

import argparse

SUMMARY = "Count the events of a store."
EXAMPLE = "loopfm count-events data/artifacts/KuaiRandPure_s1/store-0123456789abcdef"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The store's folder."""
    parser.add_argument("store")


def run(options: argparse.Namespace) -> None:
    """Print one line."""
    from fuxictr_loopfm.store.event_store import EventStore

    print(f"{EventStore.open(options.store).num_events} events")
