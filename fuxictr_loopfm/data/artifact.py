"""A folder of encoded files with a manifest that is written last and read first.

FuxiCTR lets ``data_root/dataset_id`` hold the raw files as well, so the folder is never replaced as
a whole: files are built in a staging folder, moved in one by one, and count only once the manifest
names them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuxictr_loopfm.data.columns import HISTORY_TYPE
from fuxictr_loopfm.data.encoded_entries import entry_problems
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.files.atomic import atomic_dir, write_json
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.seals import file_problem, file_record, read_json, with_seal

SCHEMA = "loopfm.encoded"
VERSION = 1
MANIFEST_FILE = "encoded.json"
FEATURE_MAP_FILE = "feature_map.json"
REBUILD = f"Delete {MANIFEST_FILE} beside it to have the data encoded again."

_STAGING = ".loopfm-staging"
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
FORMAT = Format(SCHEMA, VERSION, DataError, REBUILD, unsealed_entries=_ENTRIES)
_logger = logging.getLogger(__name__)

Manifest = dict[str, Any]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``; every file it names is as it was written.

    The feature map is left out: other runs may put their histories into it at any time, see
    ``replace_histories``. Who holds the folder's lock compares it, see ``reusable_manifest``.

    Raises:
        DataError: no manifest, another schema or version, or a file that is missing or altered.
    """
    manifest = read_description(folder)
    problems = file_problems(folder, manifest, set(manifest["files"]) - {FEATURE_MAP_FILE})
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
    required = _ENTRIES if "parts" in manifest else ("view", "fingerprint", "files")
    problems = [f"{name}: missing" for name in required if name not in manifest]
    problems += entry_problems(manifest)
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}. {REBUILD}")
    return manifest


def file_problems(
    folder: Path, manifest: Manifest, names: Collection[str] | None = None
) -> list[str]:
    """What is wrong with the files that a manifest names, or with some of them."""
    found = (
        file_problem(folder / name, record)
        for name, record in manifest["files"].items()
        if names is None or name in names
    )
    return [f"{problem}. {REBUILD}" for problem in found if problem]


def reusable_manifest(folder: Path, view: str, fingerprint: str) -> Manifest | None:
    """The manifest of ``folder`` if it is whole and has this fingerprint; says why if not.

    Raises:
        ConfigError: the folder holds another view. Two configurations that share a dataset_id
            would otherwise encode over each other in turn.
    """
    if not (folder / MANIFEST_FILE).exists():
        return None
    try:
        manifest = read_description(folder)
        problems = file_problems(folder, manifest)
    except DataError as error:
        problems = [str(error)]
    if problems:
        _logger.warning("Encode again: %s", "; ".join(problems))
        return None
    if manifest["view"] != view:
        raise ConfigError(
            f"{folder}: expected the {view} view, found the {manifest['view']} view. Give each "
            "view a dataset_id of its own, or delete the folder."
        )
    if manifest["fingerprint"] != fingerprint:
        _logger.info("Encode again: %s was made from other data or columns", folder)
        return None
    _logger.info("Reuse the encoded data in %s", folder)
    return manifest


@contextmanager
def publishing(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a staging folder; afterwards its files replace the former files of ``folder``.

    A process killed in between leaves no manifest, so nothing half-written is ever read.
    """
    staging = folder / _STAGING
    with atomic_dir(staging) as temporary:
        yield temporary
    files = {path.name: file_record(path) for path in sorted(staging.iterdir())}
    _retire(folder, keep=set(files))
    for name in files:
        os.replace(staging / name, folder / name)
    staging.rmdir()
    write_json(
        folder / MANIFEST_FILE,
        with_seal({**manifest, **FORMAT.header, "files": files}),
    )


def replace_histories(
    folder: Path, manifest: Manifest, histories: list[Any], order: list[str]
) -> None:
    """Write other ``loopfm_sequence`` entries into the feature map of a reused folder.

    They describe no encoded column, so changing them must not cost another encoding.
    """
    if manifest["histories"] == histories and manifest["order"] == order:
        return
    path = folder / FEATURE_MAP_FILE
    place_histories(path, histories, order)
    files = {**manifest["files"], FEATURE_MAP_FILE: file_record(path)}
    manifest = {**manifest, "histories": histories, "order": order, "files": files}
    write_json(folder / MANIFEST_FILE, with_seal(manifest))


def place_histories(path: Path, histories: list[Any], order: list[str]) -> None:
    """Give a ``feature_map.json`` these history features, all features in this order.

    Args:
        path: FuxiCTR's feature map.
        histories: the ``loopfm_sequence`` entries of the configuration.
        order: names of the features; others keep their order after them.
    """
    feature_map = json.loads(path.read_text(encoding="utf-8"))
    features = {name: spec for entry in feature_map["features"] for name, spec in entry.items()}
    features = {name: spec for name, spec in features.items() if spec["type"] != HISTORY_TYPE}
    for entry in histories:
        features[entry["name"]] = {key: entry[key] for key in entry if key != "name"}
    names = [*order, *(name for name in features if name not in order)]
    feature_map["features"] = [{name: features[name]} for name in names]
    feature_map["num_fields"] = sum(spec["type"] != "meta" for spec in features.values())
    write_json(path, feature_map)


def _retire(folder: Path, keep: set[str]) -> None:
    """Withdraw the manifest, then remove the files that only it named."""
    path = folder / MANIFEST_FILE
    try:
        former = read_json(path, _ENTRIES)["files"]
    except (OSError, ValueError, KeyError):
        former = {}
    path.unlink(missing_ok=True)
    for name in former:
        if name not in keep and Path(name).name == name:
            (folder / name).unlink(missing_ok=True)
