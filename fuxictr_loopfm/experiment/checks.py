"""``loopfm verify``: checksums of a store, and its causality against the log."""

from __future__ import annotations

from pathlib import Path

from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.events import PreparedDataset
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.structuring.verify import verify_store


def verify_folder(store: Path, prepared: Path | None) -> tuple[list[str], list[str]]:
    """(what was checked, problems) of a store.

    Args:
        store: store folder.
        prepared: the prepared data set; None checks checksums and layout only.
    """
    try:
        opened = EventStore.open(store, verify=True)
    except LoopFMError as error:
        return [], [str(error)]
    report = [
        f"{store}: {opened.num_events} events of {opened.num_keys} keys in "
        f"{len(opened.manifest.shards)} shard(s): checksums hold"
    ]
    if prepared is None:
        return [*report, "not checked against the log; give --prepared"], []
    problems = verify_store(store, PreparedDataset.load(prepared))
    if not problems:
        report.append(f"{prepared}: keys, times, labels and periods of every event agree")
    return report, problems
