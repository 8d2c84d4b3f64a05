"""What ``loopfm verify`` checks of a file of pointers, and of all that point into one store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.errors import LoopFMError, StoreError
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.h5 import open_h5, read_attributes
from fuxictr_loopfm.store.part_record import PartRecord, record_path
from fuxictr_loopfm.store.pointers import REBUILD_POINTERS, Pointers, file_problem
from fuxictr_loopfm.store.schema import StoreManifest
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.structuring.builder import build_pointers
from fuxictr_loopfm.structuring.pointing import SHUFFLED, donors
from fuxictr_loopfm.structuring.verify_pointers import Samples, causal_problems, range_problems
from fuxictr_loopfm.upkeep.report import Report


def check_pointers(path: Path, report: Report) -> str:
    """Check a file of pointers: checksums, whose they are, and the causal rule.

    The rule needs the samples' keys and times. The log of ``report.prepared`` has them; without it
    the store has those of the samples that are its own events.

    Args:
        path: the file.
        report: gets the problems.

    Returns:
        What was checked.

    Raises:
        LoopFMError: the file, or its record, is damaged.
    """
    problem = file_problem(path)
    if problem:
        raise StoreError(problem)
    with open_h5(path) as file:
        attributes = read_attributes(file, path, ("store", "spec"))
    meta = PartRecord.read(path).meta if record_path(path).is_file() else None
    if meta is not None and not path.stem.endswith(fingerprint(meta)):
        report.problems.append(
            f"{path}: expected pointers {path.stem.rpartition('-')[2]} as its name says, found "
            f"{fingerprint(meta)}: they are of other samples"
        )
    place = _store_of(path, attributes["store"])
    if place is None:
        return f"pointers into store {attributes['store']}, which is not beside them"
    folder, manifest = place
    try:
        spec = SequenceSpec(**json.loads(attributes["spec"]))
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path}: spec: expected a rule, found {attributes['spec']!r}") from error
    pointers = Pointers.load(path, store=manifest, spec=spec)
    line = f"pointers of {len(pointers)} samples: checksums hold"
    report.compare(path, manifest.dataset_id, manifest.dataset_fingerprint)
    if report.problems:
        return line
    try:
        store = EventStore.open(folder, codes=False)
    except LoopFMError as error:
        if report.every:
            raise
        return f"{line}; not compared with {folder}: {error}"
    prepared = report.prepared
    if prepared is not None and prepared.spec.dataset_id != manifest.dataset_id:
        prepared = None
    problems, how = _compare(path, store, pointers, meta, prepared)
    # The rule's message says more, so the ranges' stands only where there is none.
    problems = problems or range_problems(store, pointers)
    report.problems += [f"{path}: {problem}. {REBUILD_POINTERS}" for problem in problems]
    return f"{line}\n{how}"


def check_pointers_into(folder: Path, manifest: StoreManifest, report: Report) -> int:
    """Check all pointers beside a store that point into it; returns how many files these are."""
    count = 0
    for path in sorted(folder.parent.glob("pointers/*.h5")):
        try:
            with open_h5(path) as file:
                if read_attributes(file, path, ("store",))["store"] != manifest.fingerprint:
                    continue
            check_pointers(path, report)
        except LoopFMError as error:
            report.problems.append(str(error))
        count += 1
    return count


def stores_in(folder: Path) -> Iterator[tuple[Path, StoreManifest]]:
    """Stores in a folder of artifacts whose manifest can be read."""
    for path in sorted(folder.glob("store-*")):
        with suppress(LoopFMError):
            yield path, read_manifest(path)


def _store_of(path: Path, wanted: str) -> tuple[Path, StoreManifest] | None:
    """The store beside the pointers' folder that they point into."""
    stores = stores_in(path.parent.parent)
    return next((each for each in stores if each[1].fingerprint == wanted), None)


def _compare(
    path: Path,
    store: EventStore,
    pointers: Pointers,
    meta: dict[str, Any] | None,
    prepared: PreparedDataset | None,
) -> tuple[list[str], str]:
    """Recompute what can be recomputed; problems, and a line that says how much that was."""
    if meta is None:
        return [], "they do not say whose they are; their ranges lie inside the store"
    events = _events(path, meta, len(pointers))
    if prepared is None:
        samples = Samples.of_store(store, events)
        how = (
            f"{len(samples)} of {len(pointers)} samples are events of the store and agree with "
            "the causal rule; give --prepared for all"
        )
    else:
        samples = Samples.of_log(prepared, store.manifest.key, events)
        how = f"{prepared.folder}: every sample agrees with the causal rule"
    if meta.get("control") == "shuffled_users":
        return [], "users are shuffled as an earlier release did it; they are not used any more"
    if meta.get("control") == SHUFFLED:
        if len(samples) < len(pointers):
            return [], "users are shuffled; give --prepared to compare them with the causal rule"
        samples = _of_donors(store, pointers, samples)
    return causal_problems(store, pointers, samples), how


def _of_donors(store: EventStore, pointers: Pointers, samples: Samples) -> Samples:
    """The samples with keys and times of those whose histories the shuffled control gives them."""
    own = build_pointers(store, samples.key, samples.time, pointers.spec)
    donor = donors(own.length, samples.key)
    # Nothing is earlier than the first moment: without a donor the history is empty.
    time = np.where(donor >= 0, samples.time[donor], np.iinfo(np.int64).min)
    return replace(samples, key=samples.key[donor], time=time)


def _events(path: Path, meta: dict[str, Any], count: int) -> slice:
    """The samples, by their numbers in the log, as the record of the pointers says."""
    rows = meta.get("rows")
    numbers = isinstance(rows, list) and [type(row) for row in rows] == [int, int]
    if rows is not None and numbers and rows[0] >= 0 and rows[1] - rows[0] == count:
        return slice(rows[0], rows[1])
    raise StoreError(
        f"{record_path(path)}: meta.rows: expected [start, stop) of {count} samples, found "
        f"{rows!r}. {REBUILD_POINTERS}"
    )
