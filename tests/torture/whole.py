"""What lies in a folder: bytes to compare, temporaries left behind, and what the readers say.

Left out of the comparison, because two undisturbed runs differ in them too: locks (empty),
FuxiCTR's logs (times), a leaderboard (training seconds), and of records the times, the environment,
the code's identity and the seal. A result file counts by its last line without its time: a run that
was killed after it had written its line appends it again, as FuxiCTR would.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from fuxictr_loopfm.data.artifact import is_shown
from fuxictr_loopfm.data.encode import EncodedView
from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.files.atomic import TEMPORARY_PREFIX
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import read_records
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.h5 import open_h5, read_attributes
from fuxictr_loopfm.store.part_record import record_path
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.store.shard import read_manifest

Digests = dict[str, str]
_LEADS_TO = "leads to "
# The seal covers the other three.
_TIMES = ("started", "train_seconds", "environment", "seal")
_LINE_TIME = re.compile(r"^ \d{8}-\d{6},")


def digests(folder: Path) -> Digests:
    """Digest by path of what two undisturbed runs agree on: of files, and of links their aim."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        left_out = path.suffix in (".lock", ".log") or path.stem == "leaderboard"
        if left_out or is_shown(path) or "__pycache__" in path.parts:
            continue
        if path.is_symlink():
            found[name] = f"{_LEADS_TO}{os.readlink(path)}"
        elif path.is_file():
            found[name] = digest(path)
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file without its times."""
    data = path.read_bytes()
    try:
        if path.parent.parent.name == "records":
            plain = json.loads(data)
            plain["fingerprints"].pop("code")
            data = json.dumps([plain[key] for key in sorted(plain) if key not in _TIMES]).encode()
        elif path.suffix == ".csv" and path.parent.name == "model_zoo":
            data = _LINE_TIME.sub("", data.decode().rstrip("\n").rpartition("\n")[2]).encode()
    except (ValueError, KeyError):
        pass  # damaged: its bytes are compared
    return hashlib.sha256(data).hexdigest()


def debris(folder: Path) -> list[str]:
    """Temporaries, unfinished stores and staging folders that are still there."""
    patterns = (f"{TEMPORARY_PREFIX}*", "*.parts", ".loopfm-staging", "tmp*")
    return sorted(
        path.relative_to(folder).as_posix() for each in patterns for path in folder.rglob(each)
    )


def differences(found: Digests, expected: Digests) -> list[str]:
    """Files that are missing, too many, or other than expected."""
    return sorted(name for name in found | expected if found.get(name) != expected.get(name))


def misread(folder: Path, allowed: list[Digests]) -> list[str]:
    """What readers accept and should not, and what ends in anything but a message.

    A link that is there before and after is there all the time, and leads to a whole artifact.

    Args:
        folder: a world's folder after a kill.
        allowed: what may be read: the files before the command, and after an undisturbed one.
    """
    problems = [f"{name}: gone" for name in _links(allowed) if not (folder / name).is_symlink()]
    for path, read in _artifacts(folder):
        name = path.relative_to(folder).as_posix()
        try:
            files = read(path)
        except LoopFMError as error:
            if path.is_symlink():
                problems.append(f"{name}: leads to what is refused: {error}")
            continue
        except Exception as error:
            problems.append(f"{name}: {type(error).__name__}: {error}")
            continue
        now = {each.relative_to(folder).as_posix(): digest(each) for each in files}
        if not any(all(one.get(key) == now[key] for key in now) for one in allowed):
            problems.append(f"{name}: read, and neither the old nor the new one")
    return problems


def _links(allowed: list[Digests]) -> list[str]:
    """Links that are in every state."""
    states = [{name for name, aim in one.items() if aim.startswith(_LEADS_TO)} for one in allowed]
    return sorted(set.intersection(*states))


def refused(folder: Path) -> list[str]:
    """What readers refuse: after an undisturbed command nothing."""
    problems = []
    for path, read in _artifacts(folder):
        try:
            read(path)
        except LoopFMError as error:
            problems.append(f"{path.relative_to(folder).as_posix()}: refused: {error}")
    return problems


def _artifacts(folder: Path) -> Iterator[tuple[Path, Callable[[Path], list[Path]]]]:
    """Every artifact there may be, and what reads it and names the files that it read."""
    for place in (folder / "prepared", folder / "checkout" / "data" / "prepared"):
        for path in place.glob("[!.]*_s1*"):
            if path.suffix != ".json":
                yield path, _prepared
    for view in (folder / "data").glob("Planted_*/view-*"):
        yield view, _view
    artifacts = folder / "data" / "artifacts" / "Planted_s1"
    for kind, read in (("extraction-*", _extraction), ("store-*", _store), ("teacher-*", _teacher)):
        for path in artifacts.glob(kind):
            if not path.name.endswith(".parts"):
                yield path, read
    for path in (artifacts / "pointers").glob("[!.]*.h5"):
        yield path, _pointers
    for pattern in ("model_zoo/records/*/*-seed*.json", "checkpoints/*/*.model", "exported/[!.]*"):
        for path in folder.glob(pattern):
            yield path, _file
    for path in (folder / "tuner").glob("*.yaml"):
        yield path, lambda path: [path]


def _prepared(path: Path) -> list[Path]:
    if path.is_symlink():
        path = path.parent / os.readlink(path)
    data = PreparedDataset.load(path)
    data.verify()
    data.frame()
    return sorted(path.iterdir())


def _view(path: Path) -> list[Path]:
    view = EncodedView.open(path)
    view.verify()
    return [path / name for name in view.manifest["files"]]


def _extraction(path: Path) -> list[Path]:
    log = ExtractionLog.open(path)
    return [path / "manifest.json", *(path / f"{part.name}.h5" for part in log.manifest.parts)]


def _store(path: Path) -> list[Path]:
    store = EventStore.open(path)
    return [path / "manifest.json", *(path / shard.file for shard in store.manifest.shards)]


def _teacher(path: Path) -> list[Path]:
    if not (path / "manifest.json").is_file():
        raise LoopFMError("not trained")
    for name in ("teacher.pt", "compressor.pt"):
        torch.load(path / name, weights_only=True)
    return [path / name for name in ("manifest.json", "teacher.pt", "compressor.pt")]


def _pointers(path: Path) -> list[Path]:
    with open_h5(path) as file:
        said = read_attributes(file, path, ("spec", "store"))
    spec = SequenceSpec(**json.loads(said["spec"]))
    for store in path.parents[1].glob("store-*/"):
        if store.suffix != ".parts" and read_manifest(store).fingerprint == said["store"]:
            Pointers.load(path, store=read_manifest(store), spec=spec)
            return [each for each in (path, record_path(path)) if each.is_file()]
    raise LoopFMError("of no store")


def _file(path: Path) -> list[Path]:
    if path.suffix == ".json" and path.parent.parent.name == "records":
        read_records([path])
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".model":
        torch.load(path, weights_only=True)
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            dict(arrays)
    else:
        pq.read_table(path)
    return [path]
