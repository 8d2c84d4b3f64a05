"""A folder of encoded files with a manifest that names and seals them.

FuxiCTR keeps encoded files in ``data_root/dataset_id``, where data with other settings replace them
under whoever reads them. Here each folder is named by the fingerprint of all that determines it and
holds nothing else, so it is whole or absent, and nobody writes to it again. Links show the newest
where FuxiCTR's users look for it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fuxictr_loopfm.data.encoded_entries import entry_problems
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.atomic import atomic_dir, scratch_dir, write_json
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.seals import file_problem, file_record, with_seal

SCHEMA = "loopfm.encoded"
VERSION = 1
MANIFEST_FILE = "encoded.json"
FEATURE_MAP_FILE = "feature_map.json"
REBUILD = f"Delete {MANIFEST_FILE} beside it to have the data encoded again."

# Of releases before seals.
_ENTRIES = (
    "schema",
    "version",
    "view",
    "fingerprint",
    "files",
    "params",
    "dataset_id",
    "prepared_fingerprint",
    "rows",
    "splits",
    "group_id",
    "labels",
    "sequences",
    "parts",
    "histories",
    "order",
)
# What only a view of a prepared data set has, and always. Earlier ones also held the histories of
# the last configuration, and the order of its features.
_OF_VIEWS = tuple(name for name in _ENTRIES if name not in ("histories", "order"))
FORMAT = Format(SCHEMA, VERSION, DataError, REBUILD, unsealed_entries=_ENTRIES)
_FOLDER = re.compile(r"view-[0-9a-f]{16}")
_logger = logging.getLogger(__name__)

Manifest = dict[str, Any]


def encoded_folder(params: Mapping[str, Any], fingerprint: str) -> Path:
    """Where the encoded data of this fingerprint are, below FuxiCTR's folder of the data set."""
    return Path(params["data_root"]) / str(params["dataset_id"]) / f"view-{fingerprint}"


def show_newest(folder: Path) -> None:
    """Show the files of ``folder`` in FuxiCTR's folder of the data set, as symbolic links.

    For people and their scripts; nothing of ours reads them. Links to former encoded data are
    replaced one by one, or removed. What is no such link is somebody's own and stays. Nothing
    happens where the system has no links.
    """
    names = set(read_description(folder)["files"])
    place = folder.parent
    with suppress(OSError, NotImplementedError), scratch_dir(place) as scratch:
        for name in sorted(names):
            target = os.path.join(folder.name, name)
            path = place / name
            if is_shown(path) and os.readlink(path) == target:
                continue
            if is_shown(path) or not os.path.lexists(path):
                os.symlink(target, scratch / name)
                os.replace(scratch / name, path)
        for path in [each for each in place.iterdir() if is_shown(each)]:
            if path.name not in names:
                path.unlink(missing_ok=True)


def is_shown(path: Path) -> bool:
    """Is this a link of :func:`show_newest`?"""
    if not path.is_symlink():
        return False
    target = Path(os.readlink(path))
    return target.name == path.name and _FOLDER.fullmatch(str(target.parent)) is not None


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``; every file it names is as it was written.

    Raises:
        DataError: no manifest, another schema or version, or a file that is missing or altered.
    """
    manifest = read_description(folder)
    problems = file_problems(folder, manifest)
    if problems:
        raise DataError("\n".join(problems))
    return manifest


def read_description(folder: Path) -> Manifest:
    """The manifest of ``folder`` alone.

    Raises:
        DataError: there is none, it was altered, or it has another schema or version.
    """
    path = folder / MANIFEST_FILE
    manifest = FORMAT.read_json(path)
    # Only a view of a prepared data set has parts, and then it has everything.
    required = _OF_VIEWS if "parts" in manifest else ("view", "fingerprint", "files")
    problems = [f"{name}: missing" for name in required if name not in manifest]
    problems += entry_problems(manifest)
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}. {REBUILD}")
    return manifest


def file_problems(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the files that a manifest names."""
    found = (file_problem(folder / name, record) for name, record in manifest["files"].items())
    return [f"{problem}. {REBUILD}" for problem in found if problem]


def reusable_manifest(folder: Path, fingerprint: str) -> Manifest | None:
    """The manifest of ``folder`` if it is whole and has this fingerprint; says why if not."""
    if not (folder / MANIFEST_FILE).exists():
        return None
    try:
        manifest = read_description(folder)
        problems = file_problems(folder, manifest)
        if manifest["fingerprint"] != fingerprint:
            problems.append(f"{folder} holds {manifest['fingerprint']}, it was renamed")
    except DataError as error:
        problems = [str(error)]
    if problems:
        _logger.warning("Encode again: %s", "; ".join(problems))
        return None
    _logger.info("Reuse the encoded data in %s", folder)
    return manifest


@contextmanager
def publishing(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder; with a manifest of its files it then becomes ``folder``.

    A process killed in between leaves nothing that is ever read.
    """
    with atomic_dir(folder) as temporary:
        yield temporary
        files = {path.name: file_record(path) for path in sorted(temporary.iterdir())}
        write_json(
            temporary / MANIFEST_FILE,
            with_seal({**manifest, **FORMAT.header, "files": files}),
        )
