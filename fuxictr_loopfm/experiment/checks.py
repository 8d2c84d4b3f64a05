"""What an artifact was made of, and ``loopfm verify``: checksums, and causality against the log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxictr_loopfm.errors import LoopFMError, ProvenanceError
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


def require_origin(path: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse an artifact of another data set, teacher or compressor.

    Args:
        path: its manifest.
        expected, found: fingerprints and settings by key.
    Raises:
        ProvenanceError: names every key that differs.
    """
    problems = [
        f"{path}: {name}: expected {value}, found {found.get(name)}"
        for name, value in expected.items()
        if found.get(name) != value
    ]
    if problems:
        raise ProvenanceError(
            "\n".join(problems) + f"\nIt belongs to other data; delete {path.parent} to rebuild it."
        )
