"""The folder of a trained teacher: its weights, its compressor, and what says whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxictr_loopfm.errors import ProvenanceError
from fuxictr_loopfm.files.atomic import write_json
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.seals import file_problem, file_record, with_seal

SCHEMA = "loopfm.teacher"
VERSION = (1, 0)
MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "teacher.pt"
COMPRESSOR_FILE = "compressor.pt"

# Releases before seals wrote these, no schema and no checksums.
_ENTRIES = ("expid", "teacher", "compressor", "identity", "train_periods")
FORMAT = Format(
    SCHEMA,
    VERSION,
    ProvenanceError,
    "Delete the folder to train the teacher again.",
    unsealed_entries=_ENTRIES,
    always_named=False,
)


def write_teacher_manifest(folder: Path, entries: Mapping[str, Any]) -> None:
    """Describe the files of a folder; written last.

    Args:
        folder: holds the weights, and the compressor if there is one.
        entries: ``expid``, ``teacher`` and ``compressor`` (fingerprints), ``identity``,
            ``train_periods``, ``dataset_id``, ``dataset_fingerprint``, and ``course``, see
            ``analysis.training_watch``.
    """
    paths = [folder / WEIGHTS_FILE, folder / COMPRESSOR_FILE]
    files = {path.name: file_record(path) for path in paths if path.is_file()}
    plain = {**FORMAT.header, "files": files, **entries}
    write_json(folder / MANIFEST_FILE, with_seal(plain))


def read_teacher_manifest(folder: Path) -> dict[str, Any]:
    """The description of a trained teacher; its files are not read.

    Raises:
        ProvenanceError: missing, altered, or of an unknown major version.
    """
    path = folder / MANIFEST_FILE
    plain = FORMAT.read_json(path)
    missing = [name for name in ("teacher", "compressor") if name not in plain]
    if missing:
        raise ProvenanceError(f"{path}: {missing}: missing. {FORMAT.rebuild}")
    return plain


def teacher_problems(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What is wrong with the files that a manifest names; older ones name none."""
    found = (
        file_problem(folder / name, record) for name, record in manifest.get("files", {}).items()
    )
    return [f"{problem}. {FORMAT.rebuild}" for problem in found if problem]
