"""Section ``archives``: what earlier versions wrote is read, or refused with what to do.

Every artifact under ``tests/archives`` is opened and compared. Then the major version of a copy of
each is raised, as a later release would, and its reader must refuse and name a remedy.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import torch
import yaml

from fuxictr_loopfm.compression.autoencoder import CoTrainer
from fuxictr_loopfm.data.encode import EncodedView
from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.files.seals import with_seal
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import read_records
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from tests.torture.archives_readers import (
    CHECKS,
    artifacts,
    check_pointers,
    check_teacher,
    pointer_file,
)
from tests.torture.section import Profile, Section

ARCHIVES = Path(__file__).resolve().parents[1] / "archives"
# What a message must hold to say how to go on.
REMEDY = re.compile(r"rebuilt|again|prepare the data|[Uu]se the release|[Dd]elete")
Raise = Callable[[Path, dict[str, Any]], Callable[[], Any]]


def torture(profile: Profile) -> Section:
    """Read every archive; both profiles do the same, it takes seconds."""
    section = Section("Archives of earlier versions")
    for archive in sorted(path for path in ARCHIVES.glob("v*") if path.is_dir()):
        expected = json.loads((archive / "expected.json").read_text(encoding="utf-8"))
        section.notes.append(f"{archive.name}: written by {expected['written_by']}")
        folder = profile.folder / archive.name
        shutil.copytree(archive, folder)
        for name, check in CHECKS.items():
            section.count("artifacts read and compared")
            try:
                problems = [f"{archive.name}: {name}: {line}" for line in check(folder, expected)]
            except LoopFMError as error:
                problems = [f"{archive.name}: {name}: refused: {error}"]
            section.survivors += problems
        for name, raised in RAISED.items():
            copied = profile.folder / f"{archive.name} {name}"
            shutil.copytree(archive, copied)
            section.count("copies of a higher major version")
            problem = not_refused(raised(copied, expected))
            section.survivors += [f"{archive.name}: {name}: {problem}"] * bool(problem)
    return section


def not_refused(read: Callable[[], Any]) -> str:
    """Why a refusal is none; "" if it names the version and a remedy."""
    try:
        read()
    except LoopFMError as error:
        text = str(error)
        if "version" not in text or "found" not in text or not REMEDY.search(text):
            return f"refused without version or remedy: {text}"
        return ""
    return "a higher major version was read"


def _json_version(path: Path, version: Any, *, sealed_by: str = "") -> None:
    """Raise the version of a description, and its own fingerprint with it."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    plain["version"] = version
    if sealed_by:
        others = {name: value for name, value in plain.items() if name != sealed_by}
        plain[sealed_by] = fingerprint(others)
    path.write_text(json.dumps(plain), encoding="utf-8")


def _prepared(folder: Path, _: dict[str, Any]) -> Callable[[], Any]:
    path = folder / "prepared" / "dataset.yaml"
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**plain, "version": 2}), encoding="utf-8")
    return lambda: PreparedDataset.load(folder / "prepared")


def _view(folder: Path, _: dict[str, Any]) -> Callable[[], Any]:
    view = folder / "data" / "Tiny_s1"
    _json_version(view / "encoded.json", 2)
    return lambda: EncodedView.open(view)


def _extraction(folder: Path, expected: dict[str, Any]) -> Callable[[], Any]:
    log = artifacts(folder) / expected["extraction"]["folder"]
    _json_version(log / "manifest.json", [2, 0])
    return lambda: ExtractionLog.open(log)


def _teacher(folder: Path, expected: dict[str, Any]) -> Callable[[], Any]:
    teacher = artifacts(folder) / expected["teacher"]["folder"]
    plain = json.loads((teacher / "manifest.json").read_text(encoding="utf-8"))
    plain |= {"schema": "loopfm.teacher", "version": [2, 0]}
    (teacher / "manifest.json").write_text(json.dumps(with_seal(plain)), encoding="utf-8")
    return lambda: list(check_teacher(folder, expected))


def _compressor(folder: Path, expected: dict[str, Any]) -> Callable[[], Any]:
    path = artifacts(folder) / expected["teacher"]["folder"] / "compressor.pt"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "version": content["version"] + 1}, path)
    return lambda: CoTrainer.load(path)


def _store(folder: Path, expected: dict[str, Any]) -> Callable[[], Any]:
    store = artifacts(folder) / expected["stores"]["int8"]
    _json_version(store / "manifest.json", [2, 0], sealed_by="fingerprint")
    return lambda: EventStore.open(store)


def _pointers(folder: Path, expected: dict[str, Any]) -> Callable[[], Any]:
    store = artifacts(folder) / expected["stores"]["int8"]
    path = pointer_file(folder, "train", EventStore.open(store).manifest.fingerprint)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = file.attrs["version"].replace(b"1.", b"2.")
    return lambda: list(check_pointers(folder, expected))


def _record(folder: Path, _: dict[str, Any]) -> Callable[[], Any]:
    (path,) = (folder / "records").glob("*.json")
    _json_version(path, 2)
    return lambda: read_records([path])


def _packed_records(folder: Path, _: dict[str, Any]) -> Callable[[], Any]:
    path = folder / "records" / "records.jsonl"
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    plain = json.loads(header)
    plain["version"] = 2
    path.write_text("\n".join([json.dumps(plain), *lines]) + "\n", encoding="utf-8")
    return lambda: read_records([path])


RAISED: dict[str, Raise] = {
    "prepared data set": _prepared,
    "encoded view": _view,
    "extraction log": _extraction,
    "teacher": _teacher,
    "compressor": _compressor,
    "event store": _store,
    "pointers": _pointers,
    "record": _record,
    "packed records": _packed_records,
}
