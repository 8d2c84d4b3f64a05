"""Folders of results, each of them of one state of a data set.

Records, generated configurations and the leaderboard of a command lie in one folder. Those of
another state of the data would stand between them: prepared anew, or from other raw files.
"""

from __future__ import annotations

import json
from pathlib import Path

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.atomic import locked, write_json
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import read_records

# Folder of the records, and of the predictions beside them, within a folder of results.
RECORDS = "records"
DATA_FILE = "data.json"


def results_folder(prepared: PreparedDataset, default: Path, asked: Path | None) -> Path:
    """Where the results on this data set go; from then on the folder is kept for it.

    Args:
        prepared: the data set.
        default: used unless it holds results on another state of the data set: then
            ``<default>-<fingerprint>`` is.
        asked: the folder that the user asked for, if any.

    Raises:
        DataError: the user asked for a folder that holds results on another state of the data set.
    """
    if asked is None:
        if _claimed(default, prepared) == prepared.fingerprint:
            return default
        other = default.with_name(f"{default.name}-{prepared.fingerprint}")
        return results_folder(prepared, default, other)
    found = _claimed(asked, prepared)
    if found != prepared.fingerprint:
        raise DataError(
            f"{asked}: expected results on {prepared.spec.dataset_id} of the fingerprint "
            f"{prepared.fingerprint}, found those of {found}: the data set was prepared anew or "
            "from other raw files in between. Give another folder (OUT), or delete this one."
        )
    return asked


def _claimed(out: Path, prepared: PreparedDataset) -> str:
    """Fingerprint of the data set that the folder is kept for; if it was free, of this one."""
    path = out / DATA_FILE
    with locked(path):
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        dataset_id = prepared.spec.dataset_id
        if dataset_id not in kept:
            kept[dataset_id] = _of_records(out, dataset_id) or prepared.fingerprint
            write_json(path, kept)
    return str(kept[dataset_id])


def _of_records(out: Path, dataset_id: str) -> str | None:
    """What an earlier release left in the folder."""
    files = sorted((out / RECORDS).glob("*-seed*.json"))
    found = [run for run in (read_records(files) if files else ()) if run.dataset_id == dataset_id]
    return found[-1].fingerprints["data"] if found else None
