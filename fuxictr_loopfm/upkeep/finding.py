"""Finds the artifacts in a folder and below it, for verification and for forgetting alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fuxictr_loopfm.data.artifact import is_shown
from fuxictr_loopfm.files.atomic import TEMPORARY_PREFIX
from fuxictr_loopfm.upkeep.found import Found
from fuxictr_loopfm.upkeep.kinds import KINDS, VIEW, Kind, Names

LEFTOVER, UNKNOWN = "leftover", "unknown"
_FOLDER = re.compile(r"([a-z]+)-[0-9a-f]{16}")


def find_artifacts(path: Path) -> Iterator[Found]:
    """All artifacts at a path: one, a folder of them, or folders of folders.

    Args:
        path: an existing file or folder.
    """
    if path.is_file():
        kind = _kind_of_file(
            path, {each.name for each in path.parent.iterdir() if not is_shown(each)}
        )
        yield Found(kind, path) if _each_alone(kind) else Found(kind, path.parent, (path,))
        return
    names = {each.name for each in path.iterdir() if not is_shown(each)}
    folder = _kind_of_folder(path, names)
    if folder is not None:
        finished = folder.last_file == "" or folder.last_file in names
        yield Found(folder.name, path, finished=finished)
        if folder.name == VIEW:
            # Earlier releases kept one view in the folder that now has a folder for each.
            for each in sorted(path.glob(f"{VIEW}-*")):
                yield from find_artifacts(each)
        return
    yield from _found_inside(path, names)


def _found_inside(path: Path, names: Names) -> Iterator[Found]:
    """The artifacts in a folder that is none itself."""
    files: dict[str, list[Path]] = {}
    for each in sorted(path.iterdir()):
        if is_shown(each):
            continue  # the artifact is found where it is
        if each.name.startswith(TEMPORARY_PREFIX):
            yield Found(LEFTOVER, each)
        elif each.is_dir():
            if not each.is_symlink():
                yield from find_artifacts(each)
        elif not each.name.startswith("."):
            files.setdefault(_kind_of_file(each, names), []).append(each)
    # What lies beside a file that is an artifact of its own describes it.
    alone = [each for kind in files if _each_alone(kind) for each in files[kind]]
    described = {each.with_suffix(".json") for each in alone}
    for kind, found in files.items():
        if _each_alone(kind):
            yield from (Found(kind, each) for each in found)
        else:
            left = tuple(each for each in found if each not in described)
            if left:
                yield Found(kind, path, left)


def _kind_of_folder(path: Path, names: Names) -> Kind | None:
    for kind in KINDS.values():
        if kind.is_folder(path, names):
            return kind
    named = _FOLDER.fullmatch(path.name)
    found = KINDS.get(named[1]) if named else None
    return found if found is not None and found.last_file else None


def _kind_of_file(path: Path, names: Names) -> str:
    return next((kind.name for kind in KINDS.values() if kind.is_file(path, names)), UNKNOWN)


def _each_alone(kind: str) -> bool:
    return kind in KINDS and KINDS[kind].each_alone
