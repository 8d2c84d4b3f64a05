"""Attacks by weights, arrays, manifests and links: pickles, false shapes, paths to elsewhere."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuxictr_loopfm.compression.autoencoder import SCHEMA, VERSION, AutoencoderSpec, CoTrainer
from fuxictr_loopfm.data.artifact import read_manifest
from fuxictr_loopfm.data.ragged import file_names, load_sequence
from fuxictr_loopfm.data.view import EncodedView
from fuxictr_loopfm.files import atomic
from fuxictr_loopfm.host.model import read_feature_map
from fuxictr_loopfm.pipeline.extraction_files import CALIBRATION_FILE, calibration_embedding
from fuxictr_loopfm.prepared.dataset import PreparedDataset, write_prepared
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from tests.integration.planted import log_frame, log_spec
from tests.torture.hostile_attack import Attack, offered

PICKLES, SHAPES, PATHS = "pickles", "false shapes", "paths to elsewhere"


EXTRACTION = {
    "schema": "loopfm.extraction", "version": [1, 0], "dim": 4, "taps": ["emb"],
    "teacher_fingerprint": "0", "compressor_fingerprint": None, "teacher_train_periods": [1],
    "logged_periods": [2],
}  # fmt: skip


class Payload:
    """Unpickled, it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def attacks(folder: Path) -> Iterator[Attack]:
    """All attacks by files that are neither text nor h5 nor tables."""
    yield from _weights(folder)
    yield from _arrays(folder)
    yield from _manifests(folder)
    yield from _links(folder)


def _pickles(canary: Path) -> dict[str, bytes]:
    zipped, archive = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Payload(canary)))
        file.writestr("archive/version", "3\n")
    torch.save({"schema": SCHEMA, "version": VERSION, "spec": Payload(canary)}, archive)
    header = np.lib.format.MAGIC_PREFIX
    objects = io.BytesIO()
    np.save(objects, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    npz = io.BytesIO()
    np.savez(npz, a=np.array([Payload(canary)], dtype=object))
    return {
        "pickle": pickle.dumps(Payload(canary)),
        "old pickle": pickle.dumps(Payload(canary), protocol=0),
        "zip of a pickle": zipped.getvalue(),
        "torch archive": archive.getvalue(),
        "npy of objects": objects.getvalue(),
        "npz of objects": npz.getvalue(),
        "npy magic alone": header,
        "empty": b"",
    }


def _weights(folder: Path) -> Iterator[Attack]:
    canary, path = folder / "canary", folder / "compressor.pt"
    for name, content in _pickles(canary).items():
        yield offered(PICKLES, f"{name} as compressor", path, content, CoTrainer.load)
        yield offered(PICKLES, f"{name} as teacher", folder / "teacher.pt", content, _load_teacher)
    good = CoTrainer(AutoencoderSpec(8, 4, 16, (), (1,)))

    def spoiled(**changes: Any) -> bytes:
        spec = {**vars(good.spec), **changes.pop("spec", {})}
        state = {**good.state_dict(), **changes.pop("state", {})}
        buffer = io.BytesIO()
        torch.save({"schema": SCHEMA, "version": VERSION, "spec": spec, "state": state}, buffer)
        return buffer.getvalue()

    wide = torch.zeros(1).expand(1 << 40, 8)
    for name, content in {
        "a header of a trillion weights": spoiled(spec={"input_dim": 10**6, "hidden": 10**6}),
        "a width below 0": spoiled(spec={"dim": -1}),
        "a width that is text": spoiled(spec={"dim": "4"}),
        "one number said a trillion times": spoiled(state={"encoder.0.weight": wide}),
        "one number said as often as needed": spoiled(
            state={"encoder.0.weight": torch.zeros(1).expand(10**6, 10**4)},
            spec={"input_dim": 10**4, "hidden": 10**6},
        ),
        "weights that are text": spoiled(state={"encoder.0.weight": "x"}),
        "unknown weights": spoiled(state={"more": torch.zeros(1)}),
    }.items():
        yield offered(SHAPES, f"{name} in a compressor", path, content, CoTrainer.load)
    yield offered(SHAPES, "a good compressor", path, spoiled(), CoTrainer.load, harmless=True)


def _load_teacher(path: Path) -> object:
    """The lines of ``TeacherRun`` that read weights, with a network that fits anything."""
    from fuxictr_loopfm.pipeline.teacher import TeacherRun

    run = object.__new__(TeacherRun)
    run.folder = path.parent
    run._require_own = lambda: None  # the author wrote the manifest, too
    run.__dict__["model"] = torch.nn.Linear(1, 1)
    return run._load()


def npy_header(descr: str, shape: str) -> bytes:
    """A version 1 npy file without data."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (len(text) + 10) % 64) + "\n"
    return np.lib.format.MAGIC_PREFIX + b"\1\0" + len(text).to_bytes(2, "little") + text.encode()


def _arrays(folder: Path) -> Iterator[Attack]:
    own = folder / "arrays"
    own.mkdir()
    calibration = own / CALIBRATION_FILE
    manifest = {**EXTRACTION, "parts": []}
    (own / "manifest.json").write_text(json.dumps(manifest))
    sequence = own / file_names(0)[0]
    headers = {
        "a trillion rows": npy_header("'<f4'", "(1000000000000, 4)"),
        "rows beyond 2**63": npy_header("'<f4'", "(99999999999999999999, 4)"),
        "fewer than no rows": npy_header("'<f4'", "(-5, 4)"),
        "an object type": npy_header("'|O'", "(1,)"),
        "a structured type": npy_header("[('a', '<i4')]", "(0,)"),
        "a nested header": npy_header("'<f4'", "(" * 500),
        "code in the header": npy_header(
            "'<f4'", f"__import__('os').system('touch {folder / 'canary'}')"
        ),
        "text": npy_header("'<U5'", "(0,)"),
    }
    for name, content in {**headers, **_pickles(folder / "canary")}.items():
        yield offered(SHAPES, f"{name} as calibration", calibration, content, lambda p: calibration_embedding(p.parent))  # fmt: skip  # noqa: E501
        yield offered(SHAPES, f"{name} as sequence", sequence, content, lambda p: load_sequence(p.parent, 0, 5))  # fmt: skip  # noqa: E501


def _manifests(folder: Path) -> Iterator[Attack]:
    """encoded.json, feature_map.json and an extraction's manifest with entries of all kinds."""
    own = folder / "encoded"
    own.mkdir()
    outside = folder / "outside.parquet"
    outside.write_text("precious")
    record = {"bytes": 8, "sha256": atomic.sha256_file(outside)}
    encoded = {
        "schema": "loopfm.encoded", "version": 1, "view": "vertical", "fingerprint": "0",
        "files": {}, "params": {}, "rows": 1, "splits": {"train": [0, 1]}, "group_id": "u",
        "labels": ["y"], "sequences": [], "parts": {}, "histories": [], "order": [],
    }  # fmt: skip
    path = own / "encoded.json"
    for name in ("../outside.parquet", str(outside), "a/../../outside.parquet", "", ".", "a\0b"):
        for key, value in (("files", {name: record}), ("parts", {name: [0, 1]})):
            text = json.dumps({**encoded, key: value}).encode()
            yield offered(PATHS, f"{key} {name[:12]!r}", path, text, lambda p: EncodedView.open(p.parent), "encoded.json")  # fmt: skip  # noqa: E501
    for key, value in (
        ("files", [1]),
        ("files", {"a": 3}),
        ("splits", 3),
        ("rows", -1),
        ("parts", 5),
    ):
        text = json.dumps({**encoded, key: value}).encode()
        yield offered(SHAPES, f"encoded.json: {key} {value!r}", path, text, lambda p: EncodedView.open(p.parent))  # fmt: skip  # noqa: E501
    yield offered(
        SHAPES, "encoded.json: deep", path, b"[" * 200_000, lambda p: read_manifest(p.parent)
    )
    touch = f"__import__('os').system('touch {folder / 'canary'}')"
    feature = {"type": "sequence", "feature_encoder": touch, "source": "", "vocab_size": 3}
    for name, value in {
        "feature_encoder runs code": {"dataset_id": "d", "features": [{"a": feature}]},
        "no features": {"dataset_id": "d"},
        "features of another kind": {"dataset_id": "d", "features": [3]},
        "no mapping": [],
    }.items():
        yield offered(
            "code", f"feature_map.json: {name}", own / "feature_map.json",
            json.dumps(value).encode(), lambda p: read_feature_map(p, {"dataset_id": "d"}),
        )  # fmt: skip
    yield from _extractions(folder)


def _extractions(folder: Path) -> Iterator[Attack]:
    own = folder / "extraction"
    own.mkdir()
    (own / "p.h5").write_bytes(b"")
    part = {"name": "p", "rows": 10**15, "bytes": 0, "sha256": "0" * 64, "meta": {}}
    manifest = {**EXTRACTION, "parts": [part]}
    path = own / "manifest.json"

    def changed(kind: str, name: str, **changes: Any) -> Attack:
        text = json.dumps({**manifest, **changes}).encode()
        return offered(
            kind, name, path, text, lambda p: ExtractionLog.open(p.parent).embedding, own.name
        )

    yield changed(SHAPES, "a part of 10**15 rows")
    yield changed(SHAPES, "a part of -1 rows", parts=[{**part, "rows": -1}])
    yield changed(SHAPES, "10**12 dimensions", dim=10**12)
    for name in ("../outside", "/etc/passwd", "a/b", "", None, 3, "a\n"):
        yield changed(PATHS, f"part name {name!r}", parts=[{**part, "name": name}])


def _links(folder: Path) -> Iterator[Attack]:
    """Writers replace a link, never what it points to."""
    precious = folder / "precious.txt"
    precious.write_text("precious")
    link = folder / "link.json"
    link.symlink_to(precious)
    yield Attack(PATHS, "a link where a file is written", partial(atomic.write_json, link, {}),
                 harmless=True, untouched=precious)  # fmt: skip
    target = folder / "a-folder"
    target.mkdir()
    (target / "kept.txt").write_text("precious")
    linked = folder / "linked-out"
    linked.symlink_to(target)
    write = partial(write_prepared, linked, log_spec(), log_frame(), {})
    yield Attack(PATHS, "--out is a link to a foreign folder", write, "sequences",
                 untouched=target / "kept.txt")  # fmt: skip
    loop = folder / "loop"
    loop.symlink_to(loop)
    yield Attack(PATHS, "a link to itself", partial(PreparedDataset.load, loop), "loop")
    pipe = folder / "pipe"
    pipe.mkdir()
    os.mkfifo(pipe / "dataset.yaml")
    yield Attack(
        PATHS, "a pipe instead of a file", partial(PreparedDataset.load, pipe), "dataset.yaml"
    )
