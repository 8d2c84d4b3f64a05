"""Delete users from a prepared data set and from everything that was made of it.

    1  write the data set without them under a temporary name: it says what the rows' numbers become
    2  write each event store anew without them, and delete what can be made again
    3  move the data set to its place

The data set comes last. So a run that was killed anywhere finds the users still there when it is
repeated; the stores that are done already name the data set that is left, and are not touched.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fuxictr_loopfm.data.artifact import MANIFEST_FILE as VIEW_FILE
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.atomic import atomic_dir, clear_leftovers, locked, scratch_dir
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.prepared.forget import rows_of_users, write_without
from fuxictr_loopfm.store.forget import Without, write_shards_without
from fuxictr_loopfm.store.h5 import writing
from fuxictr_loopfm.store.part_record import record_path
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.structuring.shards import write_store_manifest
from fuxictr_loopfm.upkeep.forget_plan import artifacts_of, deletion_steps, outdated_steps
from fuxictr_loopfm.upkeep.forget_rules import DELETE, REWRITE, Artifact, Deletion, Step
from fuxictr_loopfm.upkeep.kinds import VIEW

_STAGING = ".loopfm-staging"


@dataclass(frozen=True)
class Forgotten:
    """What a deletion did, or would do.

    Attributes:
        events: rows of the log that were the users'.
        steps: artifact by artifact.
    """

    events: int
    steps: list[Step] = field(default_factory=list)


def forget_users(
    folder: Path,
    users: Sequence[str],
    artifacts: Sequence[Path],
    *,
    weights: bool = False,
    dry_run: bool = False,
) -> Forgotten:
    """Delete users: no file under these folders holds their key or an event of theirs afterwards.

    Every other event keeps its values, in the data set and in the stores. No run may be at work on
    the data set meanwhile.

    Args:
        folder: of the prepared data set.
        users: values of its user column, as text.
        artifacts: folders that hold its artifacts, encoded views, exports or predictions.
        weights: delete trained teachers and compressors, too.
        dry_run: change nothing.

    Raises:
        DataError: no such user is in the data set or in what is left of former versions; no other
            user is; a period would be left without both labels; a file is damaged.
        StoreError: a store is damaged, or cannot be written.
    """
    folder = folder.resolve()  # `loopfm prepare` leaves a link to it
    with _held(folder) as prepared:
        prepared.verify()
        found = artifacts_of(prepared, artifacts)
        if not dry_run:
            _clear_leftovers(prepared, found, artifacts)
        gone = rows_of_users(prepared, users)
        if not len(gone):
            return _forget_traces(prepared, users, found, weights=weights, dry_run=dry_run)
        with _changed(folder, dry_run) as changed:
            left = write_without(prepared, gone, users, changed)
            without = Without(gone, left.fingerprint)
            deletion = Deletion(users, prepared.fingerprint, left.fingerprint, weights)
            steps = deletion_steps(found, deletion)
            if not dry_run:
                for step in steps:
                    _carry_out(step, without)
    return Forgotten(len(gone), steps)


def forget_outdated(
    folder: Path, artifacts: Sequence[Path], *, dry_run: bool = False
) -> list[Step]:
    """Delete artifacts of former versions of a data set: retention, once old periods are dropped.

    A teacher, extraction log or unfinished artifact that does not say what it was made from stays.

    Args:
        folder: of the prepared data set.
        artifacts: folders that hold its artifacts.
        dry_run: change nothing.
    """
    with _held(folder.resolve()) as prepared:
        found = artifacts_of(prepared, artifacts)
        steps = outdated_steps(found, prepared.fingerprint, ())
        if not dry_run:
            _clear_leftovers(prepared, found, artifacts)
            for step in steps:
                _carry_out(step, None)
    return steps


@contextmanager
def _held(folder: Path) -> Iterator[PreparedDataset]:
    """The data set under its lock, which is not made where there is none."""
    PreparedDataset.load(folder)
    with locked(folder):
        yield PreparedDataset.load(folder)


@contextmanager
def _changed(folder: Path, dry_run: bool) -> Iterator[Path]:
    """Where to write the data set that takes the folder's place, or nobody's."""
    if dry_run:
        with scratch_dir(folder.parent) as temporary:
            yield temporary
        return
    try:
        with atomic_dir(folder) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _forget_traces(
    prepared: PreparedDataset,
    users: Sequence[str],
    found: Sequence[Artifact],
    *,
    weights: bool,
    dry_run: bool,
) -> Forgotten:
    """The users are not in the data set; but artifacts of a former version may know them."""
    steps = [
        step
        for step in outdated_steps(found, prepared.fingerprint, users)
        if weights or step.artifact.kind != "teacher"
    ]
    if not steps:
        raise DataError(
            f"{prepared.folder}: {prepared.spec.user}: expected events of {', '.join(users[:5])}, "
            "found none, and no artifact of a former version in the given folders. Check the id; "
            "if it was deleted before, there is nothing left to do."
        )
    if not dry_run:
        for step in steps:
            _carry_out(step, None)
    return Forgotten(0, steps)


def _clear_leftovers(
    prepared: PreparedDataset, found: Sequence[Artifact], folders: Sequence[Path]
) -> None:
    """Temporary files of killed processes hold rows, too."""
    places = {prepared.folder.parent, *folders}
    places |= {each for top in folders for each in top.rglob("*") if each.is_dir()}
    places |= {artifact.path.parent for artifact in found}
    for place in sorted(places):
        clear_leftovers(place)


def _carry_out(step: Step, without: Without | None) -> None:
    path = step.artifact.path
    if step.action == REWRITE and without is not None:
        with locked(path):
            _rewrite_store(path, without)
    elif step.action == DELETE:
        with locked(path):
            if step.artifact.kind == VIEW and not path.name.startswith(f"{VIEW}-"):
                _delete_shared_view(step.artifact)
            else:
                if step.artifact.kind == "pointers":
                    record_path(path).unlink(missing_ok=True)  # first: alone it is not found
                _delete(path)
                # No artifact of the data set that is left gets this name: nobody needs the lock.
                (path.parent / f".{path.name}.lock").unlink(missing_ok=True)
    logging.info("%s", step)


def _rewrite_store(folder: Path, without: Without) -> None:
    with writing(folder), atomic_dir(folder) as temporary:
        plain, shards = write_shards_without(folder, read_manifest(folder), without, temporary)
        write_store_manifest(temporary, plain, shards)


def _delete(path: Path) -> None:
    """Remove a file, or a folder in one step: half of one looks like an unfinished artifact."""
    if path.is_dir():
        with scratch_dir(path.parent) as scratch:
            os.replace(path, scratch / path.name)
    else:
        path.unlink(missing_ok=True)


def _delete_shared_view(view: Artifact) -> None:
    """A view of an earlier release, in FuxiCTR's folder of the data set, which may hold raw files.

    The files that the manifest names go, and then it.
    """
    files = view.plain.get("files", {})
    for name in files if isinstance(files, dict) else ():
        if Path(name).name == name:
            (view.path / name).unlink(missing_ok=True)
    shutil.rmtree(view.path / _STAGING, ignore_errors=True)
    (view.path / VIEW_FILE).unlink()
