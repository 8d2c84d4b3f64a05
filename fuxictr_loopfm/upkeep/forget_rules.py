"""What becomes of each kind of artifact when users are deleted from the data set it was made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.data.artifact import MANIFEST_FILE as VIEW_FILE
from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.store.h5 import open_h5, read_attributes
from fuxictr_loopfm.store.schema import MANIFEST_FILE

REWRITE, DELETE, KEEP = "rewrite", "delete", "keep"
FORMER = "made from a former version of the data set"
_VOCABULARY_FILE = "feature_vocab.json"


@dataclass(frozen=True)
class Artifact:
    """One artifact on disk.

    Attributes:
        path: its folder; a file for ``pointers``, ``export`` and ``predictions``.
        kind: name of an entry of ``kinds.KINDS``.
        plain: what its description says; empty if it has none that can be read.
    """

    path: Path
    kind: str
    plain: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """What is done with an artifact (``REWRITE``, ``DELETE`` or ``KEEP``), and why."""

    action: str
    artifact: Artifact
    reason: str

    def __str__(self) -> str:
        return f"{self.action} {self.artifact.path} ({self.artifact.kind}: {self.reason})"


@dataclass(frozen=True)
class Scope:
    """Where artifacts are searched, and of which data set.

    Attributes:
        dataset_id: of the data set.
        top: folder that the user named.
    """

    dataset_id: str
    top: Path

    def holds(self, path: Path) -> bool:
        """For artifacts that say nothing of their data set: does their place?

        Args:
            path: folder of the artifact, or the folder of files.
        """
        root = path.parent
        return path == self.top or root == self.top or root.name == self.dataset_id


@dataclass(frozen=True)
class Deletion:
    """Users that are deleted.

    Attributes:
        users: their ids.
        former, left: fingerprint of the data set with and without them.
        weights: delete what a teacher learned, too.
    """

    users: Sequence[str]
    former: str
    left: str
    weights: bool


@dataclass(frozen=True)
class Current:
    """What of a data set's artifacts is up to date.

    Attributes:
        dataset: fingerprint of the data set.
        stores: fingerprints of the stores made from it.
        teachers: the data set each teacher was made from, by the fingerprint of its compressor.
        users: encoded views that list one of these are outdated.
    """

    dataset: str
    stores: frozenset[str]
    teachers: Mapping[str, str]
    users: Sequence[str]


def _described(path: Path) -> dict[str, Any]:
    return read_plain(path / MANIFEST_FILE)


def _says_nothing(_: Path) -> dict[str, Any]:
    return {}


def _by_place(artifact: Artifact, scope: Scope) -> bool:
    return scope.holds(artifact.path)


def _made_again(artifact: Artifact, _: Deletion) -> Step | None:
    return Step(DELETE, artifact, "made from the user's events among others")


def _never(_: Artifact, __: Current) -> bool:
    return False


@dataclass(frozen=True)
class Rule:
    """What ``loopfm forget`` does with a kind of artifact. The defaults suit what can be rebuilt.

    Attributes:
        describe: what an artifact says of itself, {} if nothing that can be read.
        belongs: is it of the data set?
        delete: the step when users are deleted; None for nothing.
        outdated: is it of a former version of the data set?
    """

    describe: Callable[[Path], dict[str, Any]] = _says_nothing
    belongs: Callable[[Artifact, Scope], bool] = _by_place
    delete: Callable[[Artifact, Deletion], Step | None] = _made_again
    outdated: Callable[[Artifact, Current], bool] = _never


def _store_belongs(store: Artifact, scope: Scope) -> bool:
    # A manifest that cannot be read must not hide a store that may hold the users' rows.
    if "dataset_id" in store.plain:
        return bool(store.plain["dataset_id"] == scope.dataset_id)
    return scope.holds(store.path)


def _delete_store(store: Artifact, deletion: Deletion) -> Step | None:
    made_from = store.plain.get("dataset_fingerprint")
    if made_from == deletion.left:
        return None
    if made_from == deletion.former:
        return Step(REWRITE, store, "its other rows stay as they are")
    return Step(DELETE, store, FORMER if made_from else "does not say what it was made from")


def _store_outdated(store: Artifact, current: Current) -> bool:
    return bool(store.plain.get("dataset_fingerprint", current.dataset) != current.dataset)


def _delete_teacher(teacher: Artifact, deletion: Deletion) -> Step | None:
    if deletion.weights:
        return _made_again(teacher, deletion)
    reason = "weights trained before the deletion; --weights deletes them, too"
    return Step(KEEP, teacher, reason)


def _log_outdated(log: Artifact, current: Current) -> bool:
    compressor = str(log.plain.get("compressor_fingerprint"))
    made_from = log.plain.get("dataset_fingerprint") or current.teachers.get(compressor)
    return (made_from or current.dataset) != current.dataset


def _describe_pointers(path: Path) -> dict[str, Any]:
    try:
        with open_h5(path) as file:
            return dict(read_attributes(file, path, ("store",)))
    except StoreError:
        return {}


def _folder_belongs(file: Artifact, scope: Scope) -> bool:
    return scope.holds(file.path.parent)


def _pointers_outdated(pointers: Artifact, current: Current) -> bool:
    return pointers.plain.get("store") not in current.stores


def _describe_view(path: Path) -> dict[str, Any]:
    return read_plain(path / VIEW_FILE)


def _view_belongs(view: Artifact, scope: Scope) -> bool:
    # Without its manifest the folder may be of any FuxiCTR project. Views of earlier releases do
    # not say whose they are.
    own = view.plain.get("prepared_dataset_id", scope.dataset_id) == scope.dataset_id
    return own and (view.path / VIEW_FILE).is_file()


def _delete_view(view: Artifact, deletion: Deletion) -> Step | None:
    made_from = view.plain.get("prepared_fingerprint")
    if made_from == deletion.former or _lists_one_of(deletion.users, view):
        return Step(DELETE, view, "its vocabularies hold the user")
    return None


def _view_outdated(view: Artifact, current: Current) -> bool:
    if "prepared_dataset_id" not in view.plain:
        return _lists_one_of(current.users, view)
    return bool(view.plain.get("prepared_fingerprint") != current.dataset)


def _folder_was_named(export: Artifact, scope: Scope) -> bool:
    # An export does not say what it was made from; so only where the user points at it.
    return export.path.parent == scope.top


def _record_names_dataset(predictions: Artifact, scope: Scope) -> bool:
    record = read_plain(predictions.path.with_suffix(".json"))
    return bool(record.get("dataset_id") == scope.dataset_id)


def _nowhere(_: Artifact, __: Scope) -> bool:
    return False


UNTOUCHED = Rule(belongs=_nowhere)
STORE = Rule(_described, _store_belongs, _delete_store, _store_outdated)
TEACHER = Rule(_described, delete=_delete_teacher, outdated=_store_outdated)
EXTRACTION = Rule(_described, outdated=_log_outdated)
PARTS = Rule()
POINTERS = Rule(_describe_pointers, _folder_belongs, outdated=_pointers_outdated)
VIEW = Rule(_describe_view, _view_belongs, _delete_view, _view_outdated)
EXPORT = Rule(belongs=_folder_was_named)
PREDICTIONS = Rule(belongs=_record_names_dataset)


def read_plain(path: Path) -> dict[str, Any]:
    """A JSON mapping as it stands, unchecked; {} if there is none that can be read."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _lists_one_of(users: Sequence[str], view: Artifact) -> bool:
    """Does any vocabulary of an encoded view hold one of the users?"""
    for words in read_plain(view.path / _VOCABULARY_FILE).values():
        if isinstance(words, dict) and any(user in words for user in users):
            return True
    return False
