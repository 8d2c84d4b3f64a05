"""``loopfm verify``: is every artifact as it was written, and of the data set it should be of?"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from fuxictr_loopfm.errors import DataError, LoopFMError
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.upkeep.finding import LEFTOVER, UNKNOWN, find_artifacts
from fuxictr_loopfm.upkeep.found import Found
from fuxictr_loopfm.upkeep.kinds import KINDS
from fuxictr_loopfm.upkeep.report import Report

# A bar for what takes longer than this.
_PATIENCE_SECONDS = 2.0
_UNFINISHED = "unfinished; the next run goes on with it or builds it again"
_NOTES = {
    LEFTOVER: "left by a process that was killed; the next run removes it",
    UNKNOWN: "no artifacts, not checked",
}


def verify_folder(path: Path, prepared: Path | None = None) -> Report:
    """Check one artifact, or all in a folder.

    Args:
        path: an artifact, a file of pointers or records, or a folder that holds any of these.
        prepared: the data set they should be of; a store is then compared with it event by event.

    Raises:
        DataError: there is nothing to check, or the prepared data set is damaged.
    """
    if not path.exists():
        raise DataError(
            f"{path}: expected an artifact or a folder of them, found nothing. "
            "Give data/artifacts/<dataset> or what is in it."
        )
    found = list(find_artifacts(path))
    known = [each for each in found if each.finished and _can_be_checked(each)]
    if not known and all(each.finished for each in found):
        raise DataError(
            f"{path}: expected a prepared data set, an encoded view, a teacher, an extraction log, "
            "a store, pointers, records, or a folder of them, found none. Give "
            "data/artifacts/<dataset> or what is in it."
        )
    report = Report(
        None if prepared is None else PreparedDataset.load(prepared), every=len(known) == 1
    )
    bar = tqdm(known, "verify", unit="artifact", delay=_PATIENCE_SECONDS, leave=False)
    for each in bar if sys.stderr.isatty() else known:
        _check(each, report)
    for each in found:
        if not each.finished:
            report.checked.append(f"{each.path}: {_UNFINISHED}")
        elif not _can_be_checked(each):
            note = _NOTES.get(each.kind, f"{each.kind} without checksums, not checked")
            report.checked.append(f"{each.path}: {note}{_names(each.files)}")
    return report


def _can_be_checked(found: Found) -> bool:
    return found.kind in KINDS and KINDS[found.kind].check is not None


def _check(found: Found, report: Report) -> None:
    own, check = Report(report.prepared, report.every), KINDS[found.kind].check
    assert check is not None
    try:
        line = check(found, own)
    except LoopFMError as error:
        own.problems.append(str(error))
    if own.problems:
        report.problems += own.problems
    else:
        report.checked.append(f"{found.path}: {line}")


def _names(files: Iterable[Path]) -> str:
    names = [path.name for path in files]
    shown = ", ".join(names[:3])
    return f": {shown}{f' and {len(names) - 3} more' if len(names) > 3 else ''}" if names else ""
