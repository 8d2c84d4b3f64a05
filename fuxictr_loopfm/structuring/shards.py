"""Build the shard files of a store from a source, within a memory budget, and put them together.

    <store>.parts/shard-00003.h5     one file per finished shard, each written by any process on
    <store>.parts/shard-00003.json   any machine that sees the folder; its record comes last
    <store>/                         linked together when all records are there, then renamed

Two processes may build the same shard or finish the same store at once: both write the same bytes
under a name of their own and rename them, so no lock is needed and none is trusted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.files.atomic import (
    atomic_dir,
    atomic_path,
    scratch_dir,
    sha256_file,
    write_json,
)
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.seals import with_seal
from fuxictr_loopfm.store.h5 import writing
from fuxictr_loopfm.store.schema import (
    MANIFEST_FILE,
    REBUILD,
    ShardRecord,
    StoreManifest,
    shard_file,
)
from fuxictr_loopfm.structuring.blocks import AnyArray, EventSource, Rows
from fuxictr_loopfm.structuring.key_table import KeyTable
from fuxictr_loopfm.structuring.manifest import manifest_entries
from fuxictr_loopfm.structuring.reading import read_sorted
from fuxictr_loopfm.structuring.sorted_events import SortedEvents, write_sorted

# What lies beside a finished shard of an unfinished store; it has never named its schema.
_PART_FORMAT = Format(
    "loopfm.store.part",
    (1, 0),
    StoreError,
    REBUILD,
    unsealed_entries=("shard", "manifest"),
    always_named=False,
)


@dataclass(frozen=True)
class StorePlan:
    """What determines a store besides its events.

    Attributes:
        manifest_fields: see ``manifest.manifest_entries``.
        pad_code: (w,) the row that decodes to exactly 0.
        num_shards: files, by hash of the key.
    """

    manifest_fields: Mapping[str, Any]
    pad_code: AnyArray
    num_shards: int


def build_shards(
    parts: Path,
    source: EventSource,
    plan: StorePlan,
    shards: Collection[int],
    memory_limit: int | None = None,
) -> None:
    """Write the files and records of some shards; a finished one is not touched.

    Events are sorted in memory if they fit, else in partitions on disk; the bytes are the same.

    Args:
        parts: folder of the unfinished store.
        source: all events of the store.
        plan: the same for all shards.
        shards: which of them.
        memory_limit: bytes beyond what the process has when it starts; None is all there is.

    Raises:
        ConfigError: the limit is too small for the distinct keys or for a single key's events.
        DataError: the source's blocks do not fit together.
        StoreError: the folder cannot be written.
    """
    missing = [index for index in shards if finished_shard(parts, index) is None]
    if not missing:
        return
    parts.mkdir(parents=True, exist_ok=True)
    with writing(parts), scratch_dir(parts) as spool:
        table, events, empty = read_sorted(source, plan.num_shards, missing, memory_limit, spool)
        plain = manifest_entries(plan.manifest_fields, empty, table.key_id, plan.pad_code)
        for index in missing:
            _write_part(parts, index, table, events, empty, plain)


def parts_folder(folder: Path) -> Path:
    """Where the shards of an unfinished store are kept."""
    return folder.with_name(f"{folder.name}.parts")


def finished_shard(parts: Path, index: int) -> tuple[ShardRecord, dict[str, Any]] | None:
    """Record and manifest entries of a whole shard file; None if there is none."""
    path = parts / shard_file(index)
    try:
        plain = _PART_FORMAT.read_json(path.with_suffix(".json"))
        record = ShardRecord(**plain["shard"])
        whole = os.stat(path).st_size == record.bytes and sha256_file(path) == record.sha256
    except (OSError, StoreError, TypeError, KeyError):
        return None
    return (record, plain["manifest"]) if whole else None


def finish_store(folder: Path, parts: Path, num_shards: int) -> list[int]:
    """Make the store of its shard files if all are there.

    Args:
        folder: of the store; it appears whole.
        parts: folder of the shard files; gone afterwards.
        num_shards: of the store.

    Returns:
        The shards that are missing; empty if the store is finished, by this call or another.

    Raises:
        StoreError: the shards were built from different events or settings.
    """
    if (folder / MANIFEST_FILE).is_file():
        shutil.rmtree(parts, ignore_errors=True)
        return []
    found = [finished_shard(parts, index) for index in range(num_shards)]
    missing = [index for index, each in enumerate(found) if each is None]
    if missing:
        return [] if (folder / MANIFEST_FILE).is_file() else missing
    whole = [each for each in found if each is not None]
    plain = whole[0][1]
    other = [index for index, each in enumerate(whole) if each[1] != plain]
    if other:
        raise StoreError(
            f"{parts}: shards {other} were built from other events or settings than shard 0. "
            f"Delete the folder and structure again."
        )
    try:
        with writing(folder), atomic_dir(folder) as temporary:
            for record, _ in whole:
                _link(parts / record.file, temporary / record.file)
            write_store_manifest(temporary, plain, [record for record, _ in whole])
    except StoreError:
        # Another process may have finished the same store and removed the parts.
        if not (folder / MANIFEST_FILE).is_file():
            raise
    shutil.rmtree(parts, ignore_errors=True)
    return []


def write_store_manifest(
    folder: Path, plain: Mapping[str, Any], shards: list[ShardRecord]
) -> StoreManifest:
    """Write ``manifest.json``, which makes the folder a store."""
    entries = StoreManifest(**{**plain, "shards": tuple(shards)}).to_dict()
    manifest = StoreManifest.from_dict(entries)
    write_json(folder / MANIFEST_FILE, entries)
    return manifest


def _link(source: Path, target: Path) -> None:
    """A second name for a finished file; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_part(
    parts: Path,
    index: int,
    table: KeyTable,
    events: SortedEvents,
    empty: Rows,
    plain: dict[str, Any],
) -> None:
    path = parts / shard_file(index)
    with atomic_path(path) as temporary:
        record = write_sorted(temporary, index, table, events, empty, plain)
    description = with_seal({"shard": asdict(record), "manifest": plain})
    write_json(path.with_suffix(".json"), description)
