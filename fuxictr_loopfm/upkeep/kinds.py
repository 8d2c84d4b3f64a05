"""Every kind of artifact, once: how it is recognised, how it is verified, what forgetting does.

A new kind is one more entry of ``KINDS``. Artifacts are recognised by the names of files alone,
because what is in them may be damaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuxictr_loopfm.data.artifact import FEATURE_MAP_FILE
from fuxictr_loopfm.data.artifact import MANIFEST_FILE as VIEW_FILE
from fuxictr_loopfm.pipeline.extraction_files import CALIBRATION_FILE
from fuxictr_loopfm.pipeline.teacher_files import WEIGHTS_FILE
from fuxictr_loopfm.prepared.columns_io import SPEC_FILE
from fuxictr_loopfm.store.schema import MANIFEST_FILE
from fuxictr_loopfm.upkeep import checks, forget_rules
from fuxictr_loopfm.upkeep.found import Found
from fuxictr_loopfm.upkeep.report import Report

# The names of all files in a folder, or beside a file.
Names = set[str]

_SHARD = re.compile(r"shard-\d{5}\.h5")
_PART = re.compile(r"period-[A-Za-z0-9_-]+\.h5")
_POINTERS = re.compile(r"[A-Za-z0-9_]+-[0-9a-f]{16}\.h5")


def _nothing(_: Path, __: Names) -> bool:
    return False


@dataclass(frozen=True)
class Kind:
    """One kind of artifact.

    Attributes:
        name: for messages.
        is_folder: do the names of its files make a folder this artifact?
        last_file: of a folder that is filled in place, what is written last: without it the
            artifact is not finished. A folder called ``<name>-<16 hex digits>`` is one, too. "" if
            there is none.
        check: verifies one, noting problems, and returns a line on what was checked; None if it
            carries nothing to check it by.
        forget: what becomes of it when users are deleted.
        is_file: is this file, in a folder with any others, this artifact?
        each_alone: every file is an artifact of its own; else those of a folder are one.
    """

    name: str
    is_folder: Callable[[Path, Names], bool] = _nothing
    last_file: str = ""
    check: Callable[[Found, Report], str] | None = None
    forget: forget_rules.Rule = forget_rules.UNTOUCHED
    is_file: Callable[[Path, Names], bool] = _nothing
    each_alone: bool = False


def _is_prepared(_: Path, names: Names) -> bool:
    return SPEC_FILE in names


def _is_view(path: Path, names: Names) -> bool:
    exported = any(_is_export(path / name, names) for name in names)
    return VIEW_FILE in names or (FEATURE_MAP_FILE in names and not exported)


def _is_parts(path: Path, _: Names) -> bool:
    return path.name.endswith(".parts")


def _is_store(_: Path, names: Names) -> bool:
    return any(map(_SHARD.fullmatch, names))


def _is_teacher(_: Path, names: Names) -> bool:
    return WEIGHTS_FILE in names


def _is_extraction(_: Path, names: Names) -> bool:
    return CALIBRATION_FILE in names or any(map(_PART.fullmatch, names))


def _is_pointers(path: Path, _: Names) -> bool:
    in_folder = path.parent.name == "pointers" and path.suffix == ".h5"
    return in_folder or _POINTERS.fullmatch(path.name) is not None


def _is_export(path: Path, names: Names) -> bool:
    """One of the two tables of a split, which come with a feature map."""
    other = {".npz": ".parquet", ".parquet": ".npz"}.get(path.suffix)
    return other is not None and {FEATURE_MAP_FILE, _beside(path.name, other)} <= names


def _is_predictions(path: Path, names: Names) -> bool:
    return path.suffix == ".npz" and _beside(path.name, ".json") in names


def _is_record(path: Path, _: Names) -> bool:
    return path.suffix == ".jsonl" or checks.RECORD.fullmatch(path.name) is not None


def _beside(name: str, suffix: str) -> str:
    return str(Path(name).with_suffix(suffix))


VIEW = "view"
# In the order in which a folder's or file's kind is asked for.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("prepared", _is_prepared, check=checks.check_prepared),
        Kind(VIEW, _is_view, VIEW_FILE, checks.check_view, forget_rules.VIEW),
        Kind("parts", _is_parts, MANIFEST_FILE, forget=forget_rules.PARTS),
        Kind("store", _is_store, MANIFEST_FILE, checks.check_store, forget_rules.STORE),
        Kind("teacher", _is_teacher, MANIFEST_FILE, checks.check_teacher, forget_rules.TEACHER),
        Kind(
            "extraction",
            _is_extraction,
            MANIFEST_FILE,
            checks.check_extraction,
            forget_rules.EXTRACTION,
        ),
        Kind(
            "pointers",
            check=checks.check_pointer_file,
            forget=forget_rules.POINTERS,
            is_file=_is_pointers,
            each_alone=True,
        ),
        Kind("export", forget=forget_rules.EXPORT, is_file=_is_export),
        Kind("predictions", forget=forget_rules.PREDICTIONS, is_file=_is_predictions),
        Kind("records", check=checks.check_records, is_file=_is_record),
    )
}
