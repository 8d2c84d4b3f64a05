"""``loopfm verify``: is every artifact as it was written, and of the data set it should be of?"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from fuxictr_loopfm.errors import DataError, LoopFMError
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.upkeep.kinds import Found, find_artifacts
from fuxictr_loopfm.upkeep.report import Report
from fuxictr_loopfm.upkeep.verification_checks import CHECKS

# A bar for what takes longer than this.
_PATIENCE_SECONDS = 2.0
_NOTES = {
    "unfinished": "unfinished; the next run goes on with it or builds it again",
    "leftover": "left by a process that was killed; the next run removes it",
    "unknown": "no artifacts, not checked",
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
    known = [each for each in found if each.kind in CHECKS]
    if not known and not any(each.kind == "unfinished" for each in found):
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
        if each.kind in _NOTES:
            report.checked.append(f"{each.path}: {_NOTES[each.kind]}{_names(each.files)}")
    return report


def _check(found: Found, report: Report) -> None:
    own = Report(report.prepared, report.every)
    try:
        line = CHECKS[found.kind](found, own)
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
