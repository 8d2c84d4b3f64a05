"""Which artifacts lie in a folder, told by names alone: what is in the files may be damaged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuxictr_loopfm.data.artifact import FEATURE_MAP_FILE
from fuxictr_loopfm.data.artifact import MANIFEST_FILE as VIEW_FILE
from fuxictr_loopfm.files.atomic import TEMPORARY_PREFIX
from fuxictr_loopfm.pipeline.extraction_pass import CALIBRATION_FILE
from fuxictr_loopfm.pipeline.teacher_files import WEIGHTS_FILE
from fuxictr_loopfm.prepared.columns_io import SPEC_FILE
from fuxictr_loopfm.store.schema import MANIFEST_FILE

_SHARD = re.compile(r"shard-\d{5}\.h5")
_PART = re.compile(r"period-[A-Za-z0-9_-]+\.h5")
_POINTERS = re.compile(r"[A-Za-z0-9_]+-[0-9a-f]{16}\.h5")
RECORD = re.compile(r".+-seed-?\d+\.json")
_FOLDER = re.compile(r"(store|teacher|extraction)-[0-9a-f]{16}")


@dataclass(frozen=True)
class Found:
    """One artifact.

    Attributes:
        kind: ``prepared``, ``view``, ``teacher``, ``extraction``, ``store``, ``pointers``,
            ``records``; or ``unfinished``, ``leftover``, ``unknown``.
        path: its folder, or its file for pointers.
        files: those of ``records`` and ``unknown``.
    """

    kind: str
    path: Path
    files: tuple[Path, ...] = ()


def find_artifacts(path: Path) -> Iterator[Found]:
    """All artifacts at a path: one, a folder of them, or folders of folders."""
    if path.is_file():
        kind = _kind_of_file(path)
        yield Found(kind, path if kind == "pointers" else path.parent, (path,))
        return
    folder = _kind_of_folder(path)
    if folder:
        yield Found(folder, path)
        return
    files: dict[str, list[Path]] = {}
    for each in sorted(path.iterdir()):
        if each.name.startswith(TEMPORARY_PREFIX):
            yield Found("leftover", each)
        elif each.is_dir() and not each.is_symlink():
            yield from find_artifacts(each)
        elif not each.name.startswith("."):
            files.setdefault(_kind_of_file(each), []).append(each)
    pointers = files.pop("pointers", [])
    yield from (Found("pointers", each) for each in pointers)
    told = {each.with_suffix(".json") for each in pointers}
    files["unknown"] = [each for each in files.get("unknown", []) if each not in told]
    yield from (Found(kind, path, tuple(each)) for kind, each in files.items() if each)


def _kind_of_file(path: Path) -> str:
    if path.suffix == ".jsonl" or RECORD.fullmatch(path.name):
        return "records"
    return "pointers" if _POINTERS.fullmatch(path.name) else "unknown"


def _kind_of_folder(path: Path) -> str | None:
    names = {each.name for each in path.iterdir()}
    if SPEC_FILE in names:
        return "prepared"
    if VIEW_FILE in names:
        return "view"
    named = _FOLDER.fullmatch(path.name)
    if any(map(_SHARD.fullmatch, names)):
        kind = "store"
    elif WEIGHTS_FILE in names:
        kind = "teacher"
    elif CALIBRATION_FILE in names or any(map(_PART.fullmatch, names)):
        kind = "extraction"
    elif named and MANIFEST_FILE in names:
        kind = named[1]
    else:
        return "unfinished" if FEATURE_MAP_FILE in names or named else None
    return kind if MANIFEST_FILE in names else "unfinished"
