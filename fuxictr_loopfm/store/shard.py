"""One shard file: written once, checked against the manifest whenever it is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.files.plain_text import load_json
from fuxictr_loopfm.files.seals import file_problem, file_sha256
from fuxictr_loopfm.store import h5
from fuxictr_loopfm.store.schema import (
    MANIFEST_FILE,
    REBUILD,
    ROW_DATASETS,
    SHARD_FORMAT,
    StoreManifest,
    shard_identity,
)


def read_manifest(folder: Path | str) -> StoreManifest:
    """Read and check ``manifest.json`` without opening any shard.

    Raises:
        StoreError: the folder holds no store, or the manifest is altered or of an unknown version.
    """
    path = Path(folder) / MANIFEST_FILE
    if not path.is_file():
        raise StoreError(
            f"{path}: the file is missing, so {folder} is no complete event store. {REBUILD}"
        )
    try:
        plain = load_json(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: no valid JSON ({error}). {REBUILD}") from error
    return StoreManifest.from_dict(plain, str(path))


def row_dtypes(manifest: StoreManifest) -> dict[str, np.dtype[Any]]:
    """Dtype of every dataset that has one row per event, by its path in a shard file."""
    names = {"codes": manifest.code_dtype, **ROW_DATASETS}
    names.update({f"side/{name}": dtype for name, dtype in manifest.side.items()})
    return {name: np.dtype(dtype) for name, dtype in names.items()}


def code_width(manifest: StoreManifest) -> int:
    """Number of codes in a row (w)."""
    return manifest.row_bytes // np.dtype(manifest.code_dtype).itemsize


@contextmanager
def open_shard(
    folder: Path, manifest: StoreManifest, index: int
) -> Iterator[dict[str, h5py.Dataset]]:
    """Open a shard and yield its datasets by path.

    Raises:
        StoreError: missing, truncated, altered, from another store, or not laid out as the manifest
            says.
    """
    record = manifest.shards[index]
    problem = file_problem(folder / record.file, {"bytes": record.bytes, "sha256": record.sha256})
    if problem:
        raise StoreError(f"{problem}. {REBUILD}")
    with _datasets(folder, manifest, index) as datasets:
        yield datasets


@contextmanager
def _datasets(
    folder: Path, manifest: StoreManifest, index: int
) -> Iterator[dict[str, h5py.Dataset]]:
    record = manifest.shards[index]
    path = folder / record.file
    with h5.open_h5(path) as file:
        found = h5.read_attributes(file, path, ("schema", "version", "identity"))
        h5.check_header(path, found, SHARD_FORMAT)
        plain = manifest.to_dict()
        expected = shard_identity(plain, index, plain["shards"][index])
        if found["identity"] != expected:
            raise StoreError(
                f"{path}: identity: expected {expected}, found {found['identity']}; the file "
                f"belongs to another store. {REBUILD}"
            )
        key_dtype = "S" if manifest.key_dtype == "bytes" else "int64"
        datasets = {
            "key_ptr": h5.find_dataset(file, path, "key_ptr", (record.keys + 1,), "int64"),
            "key_id": h5.find_dataset(file, path, "key_id", (record.keys,), key_dtype),
        }
        for name, dtype in row_dtypes(manifest).items():
            width = (code_width(manifest),) if name == "codes" else ()
            shape = (record.rows + 1, *width)
            datasets[name] = h5.find_dataset(file, path, name, shape, dtype)
        yield datasets


def checksum_problems(folder: Path, manifest: StoreManifest) -> list[str]:
    """Every shard and dataset whose bytes differ from the manifest; empty if none does."""
    problems = []
    for index, record in enumerate(manifest.shards):
        path = folder / record.file
        try:
            h5.check_size(path, record.bytes)
            found = file_sha256(path)
            if found == record.sha256:
                continue
            altered = _altered_datasets(folder, manifest, index)
        except StoreError as error:
            problems.append(str(error))
            continue
        problems += altered or [
            f"{path}: sha256: expected {record.sha256}, found {found}; all datasets are intact, "
            f"the bytes around them were altered. {REBUILD}"
        ]
    return problems


def _altered_datasets(folder: Path, manifest: StoreManifest, index: int) -> list[str]:
    record = manifest.shards[index]
    problems = []
    with _datasets(folder, manifest, index) as datasets:
        for name in sorted(datasets):
            expected, found = record.datasets[name], h5.array_sha256(h5.read_array(datasets[name]))
            if found != expected:
                problems.append(
                    f"{folder / record.file}: {name}: expected sha256 {expected}, found {found}; "
                    f"the dataset was altered. {REBUILD}"
                )
    return problems
