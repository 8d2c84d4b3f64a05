"""Which artifacts of a data set have to go, or be written anew, when users are deleted from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.data.artifact import FEATURE_MAP_FILE
from fuxictr_loopfm.data.artifact import MANIFEST_FILE as VIEW_FILE
from fuxictr_loopfm.errors import ConfigError, StoreError
from fuxictr_loopfm.files.atomic import TEMPORARY_PREFIX
from fuxictr_loopfm.prepared.columns_io import SPEC_FILE
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store import schema
from fuxictr_loopfm.store.extraction_log import EXTRACTION_SCHEMA
from fuxictr_loopfm.store.h5 import open_h5, read_attributes

REWRITE, DELETE, KEEP = "rewrite", "delete", "keep"
_WEIGHTS_FILE, _VOCABULARY_FILE, _POINTERS = "teacher.pt", "feature_vocab.json", "pointers"
_FORMER = "made from a former version of the data set"


@dataclass(frozen=True)
class Artifact:
    """One artifact on disk.

    Attributes:
        path: its folder; a file for ``pointers``, ``export`` and ``predictions``.
        kind: ``store``, ``parts``, ``extraction``, ``teacher``, ``pointers``, ``view``, ``export``
            or ``predictions``.
        plain: what its manifest or record says; empty if it has none.
    """

    path: Path
    kind: str
    plain: dict[str, Any]


@dataclass(frozen=True)
class Step:
    """What is done with an artifact (``REWRITE``, ``DELETE`` or ``KEEP``), and why."""

    action: str
    artifact: Artifact
    reason: str

    def __str__(self) -> str:
        return f"{self.action} {self.artifact.path} ({self.artifact.kind}: {self.reason})"


def find_artifacts(prepared: PreparedDataset, folders: Sequence[Path]) -> list[Artifact]:
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
        for name, inside, files in os.walk(top):
            here = Path(name)
            each = list(_artifacts_at(here, top, files, prepared.spec.dataset_id))
            found |= {item.path.resolve(): item for item in each}
            if SPEC_FILE in files or any(item.path == here for item in each):
                inside.clear()
            inside[:] = sorted(each for each in inside if not each.startswith(TEMPORARY_PREFIX))
    return [found[path] for path in sorted(found)]


def _artifacts_at(here: Path, top: Path, files: list[str], dataset_id: str) -> Iterator[Artifact]:
    plain = _json(here / schema.MANIFEST_FILE) if schema.MANIFEST_FILE in files else {}
    root = here.parent
    # These say nothing of the data set; where they are does.
    own = here == top or root == top or root.name == dataset_id
    if plain.get("schema") == schema.SCHEMA:
        if plain.get("dataset_id") == dataset_id:
            yield Artifact(here, "store", plain)
    elif VIEW_FILE in files:
        yield Artifact(here, "view", _json(here / VIEW_FILE))
    elif own and (plain.get("schema") == EXTRACTION_SCHEMA or here.name.startswith("extraction-")):
        yield Artifact(here, "extraction", plain)
    elif own and _WEIGHTS_FILE in files:
        yield Artifact(here, "teacher", plain)
    elif own and here.name.endswith(".parts"):
        yield Artifact(here, "parts", {})
    elif own and here.name == _POINTERS:
        for name in sorted(each for each in files if each.endswith(".h5")):
            yield Artifact(here / name, "pointers", _store_of_pointers(here / name))
    else:
        yield from _row_files(here, here == top, set(files), dataset_id)


def _row_files(here: Path, is_top: bool, files: set[str], dataset_id: str) -> Iterator[Artifact]:
    """Files with a value per row: exports in a folder that was named, predictions by records."""
    for path in (here / name for name in sorted(files) if name.endswith(".npz")):
        table = path.with_suffix(".parquet")
        if is_top and FEATURE_MAP_FILE in files and table.name in files:
            yield from (Artifact(each, "export", {}) for each in (path, table))
        record = path.with_suffix(".json")
        if record.name in files and _json(record).get("dataset_id") == dataset_id:
            yield Artifact(path, "predictions", {})


def _store_of_pointers(path: Path) -> dict[str, Any]:
    try:
        with open_h5(path) as file:
            return dict(read_attributes(file, path, ("store",)))
    except StoreError:
        return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}


def deletion_steps(
    artifacts: Sequence[Artifact], former: str, left: str, users: Sequence[str], *, weights: bool
) -> list[Step]:
    """What to do after users were deleted.

    Args:
        artifacts: of the data set.
        former, left: its fingerprint with and without these users.
        users: their ids.
        weights: delete what a teacher learned, too.
    """
    steps = []
    for artifact in artifacts:
        made_from = artifact.plain.get("dataset_fingerprint")
        if artifact.kind == "store":
            if made_from == former:
                steps.append(Step(REWRITE, artifact, "its other rows stay as they are"))
            elif made_from != left:
                steps.append(Step(DELETE, artifact, _FORMER))
        elif artifact.kind == "teacher" and not weights:
            reason = "weights trained before the deletion; --weights deletes them, too"
            steps.append(Step(KEEP, artifact, reason))
        elif artifact.kind != "view":
            steps.append(Step(DELETE, artifact, "made from the user's events among others"))
        elif artifact.plain.get("prepared_fingerprint") == former or _lists_user(artifact, users):
            steps.append(Step(DELETE, artifact, "its vocabularies hold the user"))
    return steps


def outdated_steps(artifacts: Sequence[Artifact], current: str, users: Sequence[str]) -> list[Step]:
    """What to do with what is left of former versions of the data set.

    Args:
        artifacts: of the data set.
        current: its fingerprint.
        users: encoded views that list one of these go as well.
    """
    stores = {a.path: a for a in artifacts if a.kind == "store"}
    live = {
        store.plain.get("fingerprint")
        for store in stores.values()
        if store.plain.get("dataset_fingerprint") == current
    }
    teachers = {
        a.plain.get("compressor"): a.plain.get("dataset_fingerprint", current)
        for a in artifacts
        if a.kind == "teacher"
    }
    steps = []
    for artifact in artifacts:
        plain = artifact.plain
        outdated = {
            "store": plain.get("dataset_fingerprint") != current,
            "teacher": plain.get("dataset_fingerprint", current) != current,
            "extraction": teachers.get(plain.get("compressor_fingerprint"), current) != current,
            "pointers": plain.get("store") not in live,
            "view": _lists_user(artifact, users) if users else False,
        }
        if outdated.get(artifact.kind, False):
            steps.append(Step(DELETE, artifact, _FORMER))
    return steps


def _lists_user(view: Artifact, users: Sequence[str]) -> bool:
    """Does any vocabulary of an encoded view hold one of the users?"""
    vocabularies = _json(view.path / _VOCABULARY_FILE)
    return view.kind == "view" and any(
        user in words
        for words in vocabularies.values()
        if isinstance(words, dict)
        for user in users
    )
