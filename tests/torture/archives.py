"""Section ``archives``: what earlier versions wrote is read, or refused with what to do.

Every artifact under ``tests/archives`` is opened and compared. Then the major version of a copy of
each is raised, as a later release would, and its reader must refuse and name a remedy.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import torch
import yaml

from fuxictr_loopfm.compression.autoencoder import CoTrainer
from fuxictr_loopfm.data.encode import EncodedView
from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.files.seals import with_seal, without_seal
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import read_records
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.schema import manifest_fingerprint
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
Reader = Callable[[Path], Any]


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
        for name, path, read in raised(folder, expected):
            copied = profile.folder / f"{archive.name} {name}"
            shutil.copytree(archive, copied)
            section.count("copies of a higher major version")
            newer = copied / path.relative_to(folder)
            _raise(newer)
            problem = not_refused(lambda read=read, newer=newer: read(newer))
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


def _raise_description(path: Path) -> None:
    """Write the next major version into a description, as its own writer would have sealed it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    packed = path.suffix == ".jsonl"  # of packed records the first line is the description
    text, rest = (lines[0], lines[1:]) if packed else ("\n".join(lines), [])
    plain = without_seal(yaml.safe_load(text))
    version = plain.get("version", [1, 0])  # the oldest teachers say none
    plain["version"] = [2, 0] if isinstance(version, list) else 2
    if path.parent.name.startswith("store-"):
        plain["fingerprint"] = manifest_fingerprint(plain)
    elif path.parent.name.startswith("teacher-"):
        plain = with_seal({**plain, "schema": "loopfm.teacher"})
    path.write_text("\n".join([json.dumps(plain), *rest]) + "\n", encoding="utf-8")


def raised(folder: Path, expected: dict[str, Any]) -> Iterator[tuple[str, Path, Reader]]:
    """(kind, file that says a version, its reader) of each kind, in a copy of an archive."""
    own = artifacts(folder)
    teacher, log = own / expected["teacher"]["folder"], own / expected["extraction"]["folder"]
    store, view = own / expected["stores"]["int8"], folder / "data" / "Tiny_s1"
    prepared, records = folder / "prepared", folder / "records"
    manifest = "manifest.json"
    pointers = pointer_file(folder, "train", EventStore.open(store).manifest.fingerprint)
    (record,) = records.glob("*.json")
    yield "prepared data set", prepared / "dataset.yaml", lambda p: PreparedDataset.load(p.parent)
    yield "encoded view", view / "encoded.json", lambda p: EncodedView.open(p.parent)
    yield "extraction log", log / manifest, lambda p: ExtractionLog.open(p.parent)
    yield "teacher", teacher / manifest, lambda p: list(check_teacher(p.parents[4], expected))
    yield "compressor", teacher / "compressor.pt", CoTrainer.load
    yield "event store", store / manifest, lambda p: EventStore.open(p.parent)
    yield "pointers", pointers, lambda p: list(check_pointers(p.parents[4], expected))
    yield "record", record, lambda p: read_records([p])
    yield "packed records", records / "records.jsonl", lambda p: read_records([p])


def _raise(path: Path) -> None:
    if path.suffix == ".pt":
        content = torch.load(path, weights_only=True)
        torch.save({**content, "version": content["version"] + 1}, path)
    elif path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["version"] = file.attrs["version"].replace(b"1.", b"2.")
    else:
        _raise_description(path)
