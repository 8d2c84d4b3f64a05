"""The artifacts of the planted log stay what they are, from one change of the code to the next.

``same_artifacts.json`` notes what the log becomes: the folders' names, the bytes of everything that
holds no trained number, and digests of the trained numbers. Whoever changes one of these on purpose
writes the file anew, with the versions of ``constraints.txt``, and explains the difference:

    python tests/integration/test_same_artifacts.py
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Loop, new_loop
from planted import TEACHER_DATASET, write_log

from fuxictr_loopfm.files.atomic import sha256_file, write_json
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.environment import collect_environment
from fuxictr_loopfm.runs.vertical import Run, train_vertical

EXPECTED = Path(__file__).with_name("same_artifacts.json")
# Who decides the bytes of a file, and, with the processor, the bits of a trained number.
WRITERS = ("h5py", "numpy", "pandas", "polars", "pyarrow", "scikit-learn")
TRAINERS = (*WRITERS, "fuxictr", "torch")

UNPOOLED = [{"name": "item_his", "feature_encoder": None}]
SEQUENCE: dict[str, Any] = {
    "feature_specs": UNPOOLED, "dnn_hidden_units": [16, 8], "attention_hidden_units": [8],
}  # fmt: skip
# The settings that let each sequence model read the log's one history.
MODELS: dict[str, dict[str, Any]] = {
    "DIN": {"din_target_field": "item_id", "din_sequence_field": "item_his", **SEQUENCE},
    "DIEN": {"dien_target_field": "item_id", "dien_sequence_field": "item_his", **SEQUENCE},
    "DMIN": {"target_field": "item_id", "sequence_field": "item_his", "num_heads": 2, **SEQUENCE},
    "DMR": {"target_field": "item_id", "sequence_field": "item_his", **SEQUENCE},
}


def versions(names: Iterable[str]) -> dict[str, str]:
    return {name: metadata.version(name) for name in names}


def processor() -> str:
    """Its name, and the instructions that torch takes it to have."""
    return f"{collect_environment()['cpu']}, {torch.backends.cpu.get_cpu_capability()}"


def files_below(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but locks and links, by its path below ``folder``'s parent."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    files = [p for p in found if not p.is_symlink()]
    return {p.relative_to(folder.parent).as_posix(): sha256_file(p) for p in files}


def digest(arrays: dict[str, Any]) -> str:
    """SHA-256 over names, shapes, types and values, in the order that is given."""
    total = hashlib.sha256()
    for name, value in arrays.items():
        array = np.ascontiguousarray(value)
        total.update(f"{name} {array.shape} {array.dtype.str}\n".encode() + array.tobytes())
    return total.hexdigest()


def weights(state: dict[str, torch.Tensor]) -> str:
    return digest({name: value.numpy() for name, value in state.items()})


def without_training(root: Path, prepared: PreparedDataset) -> dict[str, str]:
    """Files of the prepared log, its vertical view, the raw-id store and the pointers into it."""
    loop = new_loop(root / "raw", prepared)
    _, workspace = loop.load("raw_label", loopfm_backfill=False)
    store = workspace.store(prepared.spec.user)
    for split in ("train", "test"):
        workspace.pointers(store, prepared.spec.user, split)
    return files_below(prepared.folder) | files_below(loop.root / "data")


def with_training(loop: Loop) -> tuple[dict[str, str], dict[str, Any]]:
    """The artifacts' names by kind, and digests of what was trained.

    The teacher is a DeepFM: it is built of nothing in the package, so its name does not follow from
    the wording of a docstring there, as that of a sequence model does.
    """
    record = loop.run("kd_loopfm_label", seed=1)
    _, workspace = loop.load("kd_loopfm_label", seed=1)
    log, store = workspace.extraction, workspace.store(loop.prepared.spec.user)
    (folder,) = loop.folders("teacher")
    teacher = torch.load(folder / "teacher.pt", weights_only=True)
    compressor = torch.load(folder / "compressor.pt", weights_only=True)["state"]
    names = {kind: loop.folders(kind)[0].name for kind in ("teacher", "extraction", "store")}
    names |= {p.name.split("-")[0]: p.name for p in sorted(loop.artifacts.glob("pointers/*.h5"))}
    found: dict[str, Any] = {
        "teacher": weights(teacher),
        "compressor": weights(compressor),
        "log": digest({"event_id": log.event_id, "logit": log.logit, "embedding": log.embedding}),
        "store": digest({"codes": store.codes, "rows": store.event_id, "logit": store.logit}),
        "metrics": rounded(record.metrics),
    }
    return names, found | {name: trained_alone(loop, name) for name in MODELS}


def trained_alone(loop: Loop, model: str) -> str:
    """Digest of a sequence model's weights after its one epoch."""
    run = Run(*loop.load("base", seed=1, **{**MODELS[model], "model": model}))
    train_vertical(run)
    return weights(run.model.state_dict())


def rounded(metrics: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in metrics.items()}


def made(root: Path) -> dict[str, Any]:
    """Everything that the committed file notes, made from nothing."""
    prepared = write_log(root / "prepared")
    files = without_training(root, prepared)
    loop = new_loop(root / "loopfm", prepared)
    names, trained = with_training(loop)
    files |= files_below(loop.root / "data" / TEACHER_DATASET)
    return {
        "written_by": versions(WRITERS),
        "trained_by": {**versions(TRAINERS), "cpu": processor()},
        "names": names,
        "files": files,
        "trained": trained,
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made(tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return read


def require_same(found: dict[str, Any], expected: dict[str, Any], part: str) -> None:
    if found[part] != expected[part]:
        pytest.skip(f"{EXPECTED.name} notes {expected[part]}, found {found[part]}")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["files", "names"])
def test_what_holds_no_trained_number_is_the_same_to_the_byte(
    found: dict[str, Any], expected: dict[str, Any], part: str
) -> None:
    require_same(found, expected, "written_by")
    assert found[part] == expected[part]


@pytest.mark.slow
def test_what_is_trained_is_the_same_to_the_bit(
    found: dict[str, Any], expected: dict[str, Any]
) -> None:
    require_same(found, expected, "trained_by")
    assert found["trained"] == expected["trained"]


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        write_json(EXPECTED, made(Path(temporary)))
    sys.stdout.write(f"written: {EXPECTED}\n")
