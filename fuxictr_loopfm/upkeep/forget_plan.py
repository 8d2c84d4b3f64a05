"""Which artifacts of a data set have to go, or be written anew, when users are deleted from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.upkeep.finding import find_artifacts
from fuxictr_loopfm.upkeep.forget_rules import (
    DELETE,
    FORMER,
    Artifact,
    Current,
    Deletion,
    Scope,
    Step,
)
from fuxictr_loopfm.upkeep.kinds import KINDS


def artifacts_of(prepared: PreparedDataset, folders: Sequence[Path]) -> list[Artifact]:
    """The artifacts of a data set in and below some folders, without those of others.

    Raises:
        ConfigError: a folder does not exist.
    """
    found: dict[Path, Artifact] = {}
    for top in folders:
        if not top.is_dir():
            raise ConfigError(
                f"--artifacts {top}: expected a folder, found none. Give the folder of the data "
                f"set's artifacts, such as data/artifacts/{prepared.spec.dataset_id}."
            )
        scope = Scope(prepared.spec.dataset_id, top)
        for artifact in _all_below(top):
            if KINDS[artifact.kind].forget.belongs(artifact, scope):
                found[artifact.path.resolve()] = artifact
    return [found[path] for path in sorted(found)]


def _all_below(top: Path) -> Iterator[Artifact]:
    for each in find_artifacts(top):
        if each.kind in KINDS:
            for path in each.files or (each.path,):
                yield Artifact(path, each.kind, KINDS[each.kind].forget.describe(path))


def deletion_steps(artifacts: Sequence[Artifact], deletion: Deletion) -> list[Step]:
    """What to do with a data set's artifacts after users were deleted from it."""
    steps = [KINDS[each.kind].forget.delete(each, deletion) for each in artifacts]
    return [step for step in steps if step is not None]


def outdated_steps(artifacts: Sequence[Artifact], current: str, users: Sequence[str]) -> list[Step]:
    """What to do with what is left of former versions of the data set.

    Args:
        artifacts: of the data set.
        current: its fingerprint.
        users: encoded views that list one of these go as well.
    """
    stores = (artifact.plain for artifact in artifacts if artifact.kind == "store")
    teachers = (artifact.plain for artifact in artifacts if artifact.kind == "teacher")
    now = Current(
        dataset=current,
        stores=frozenset(
            str(plain.get("fingerprint"))
            for plain in stores
            if plain.get("dataset_fingerprint") == current
        ),
        teachers={
            str(plain.get("compressor")): plain.get("dataset_fingerprint", current)
            for plain in teachers
        },
        users=users,
    )
    outdated = [each for each in artifacts if KINDS[each.kind].forget.outdated(each, now)]
    return [Step(DELETE, each, FORMER) for each in outdated]
