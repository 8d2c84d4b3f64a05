"""Reading and writing plain, contiguous h5 datasets; everything else is refused.

What is refused, and why, stands in ``plain_h5``; every dataset that passes can be mapped.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.files.atomic import require_space
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.plain_h5 import H5_ERRORS, dataset_problem, file_problem
from fuxictr_loopfm.store.schema import REBUILD


@contextmanager
def open_h5(path: Path) -> Iterator[h5py.File]:
    """Open for reading. Compare a file with its checksum first, where there is one.

    Raises:
        StoreError: the file is missing, or is no complete h5 file.
    """
    if not path.is_file():
        raise StoreError(f"{path}: the file is missing. {REBUILD}")
    try:
        file = h5py.File(path, "r")
    except H5_ERRORS as error:
        raise StoreError(f"{path}: no complete h5 file ({error}). {REBUILD}") from error
    with file:
        problem = file_problem(file)
        if problem:
            raise StoreError(f"{path}: {problem}. {REBUILD}")
        yield file


@contextmanager
def writing(target: Path | str) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into a message.

    Raises:
        StoreError: ``target`` cannot be written; it is then unchanged.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _reason(error)
        if reason is None and not isinstance(error, OSError):
            raise
        raise StoreError(
            f"{target}: cannot be written: {reason or error}. Free space or give another "
            f"folder, then run again."
        ) from error


def _reason(error: RuntimeError) -> str | None:
    """The system's words for what HDF5 says when it fails while it closes a file."""
    code = re.search(r"errno = (\d+)", str(error))
    return os.strerror(int(code[1])) if code else None


def check_size(path: Path, expected: int) -> None:
    """Refuse a file whose size is not the recorded one.

    Raises:
        StoreError: missing, truncated or grown.
    """
    try:
        found = os.stat(path).st_size
    except OSError as error:
        raise StoreError(f"{path}: the file is missing. {REBUILD}") from error
    if found != expected:
        raise StoreError(f"{path}: size: expected {expected} bytes, found {found}. {REBUILD}")


def array_sha256(array: np.ndarray[Any, Any]) -> str:
    """Hex SHA-256 of an array's raw bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def write_contiguous(
    path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], attributes: Mapping[str, str]
) -> None:
    """Write arrays as contiguous datasets; the same input gives the same bytes.

    Args:
        path: of the file.
        arrays: of any shape, by name; written little-endian in their dtypes.
        attributes: texts of the root group.

    Raises:
        OSError: the disk has no room.
    """
    require_space(path, sum(array.nbytes for array in arrays.values()))
    with h5py.File(path, "w", libver="earliest") as file:
        for name, text in attributes.items():
            file.attrs[name] = np.bytes_(text.encode("utf-8"))
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            little_endian = array.dtype.newbyteorder("<")
            file.create_dataset(name, array.shape, little_endian, data=array, track_times=False)


def find_dataset(
    file: h5py.File, path: Path, name: str, shape: tuple[int, ...], dtype: DTypeLike
) -> h5py.Dataset:
    """The dataset ``name`` if it is exactly what the schema says.

    Args:
        shape: expected sizes.
        dtype: expected dtype; "S" accepts fixed-length bytes of any length.

    Raises:
        StoreError: missing, linked elsewhere, chunked, filtered, of another shape or dtype, or with
            fewer bytes in the file than its shape needs.
    """
    try:
        problem = dataset_problem(file, name, shape, np.dtype(dtype))
        dataset = None if problem else file[name]
    except H5_ERRORS as error:
        problem = f"expected a readable dataset, found {error}"
    if problem:
        raise StoreError(f"{path}: {name}: {problem}. {REBUILD}")
    return dataset


def read_into(dataset: h5py.Dataset, target: np.ndarray[Any, Any], first: int = 0) -> None:
    """Copy rows of a dataset, from ``first`` on, into ``target`` without a temporary array.

    Args:
        dataset: (n, ...).
        target: (m, ...) of the same dtype; as many rows are read.
        first: row of the dataset.

    Raises:
        StoreError: the file cannot be read, for example because it is truncated.
    """
    if target.size == 0:
        return
    try:
        dataset.read_direct(target, np.s_[first : first + len(target)])
    except H5_ERRORS as error:
        raise StoreError(
            f"{dataset.file.filename}: {dataset.name}: cannot be read ({error}). {REBUILD}"
        ) from error


def read_array(dataset: h5py.Dataset) -> np.ndarray[Any, Any]:
    """The whole dataset in memory, in its shape and dtype.

    Raises:
        StoreError: as ``read_into``.
    """
    array = np.empty(dataset.shape, dataset.dtype)
    read_into(dataset, array)
    return array


def read_rows(dataset: h5py.Dataset, start: int, stop: int) -> np.ndarray[Any, Any]:
    """Rows ``[start, stop)`` of a dataset (n, ...) in memory, (stop - start, ...).

    Raises:
        StoreError: as ``read_into``.
    """
    array = np.empty((stop - start, *dataset.shape[1:]), dataset.dtype)
    read_into(dataset, array, start)
    return array


def read_attributes(file: h5py.File, path: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Text attributes of the root group, written as fixed-length UTF-8.

    Raises:
        StoreError: one is missing or is no text.
    """
    values = {}
    for name in names:
        try:
            value = file.attrs.get(name)
        except H5_ERRORS as error:
            raise _refused(path, f"attribute {name}", "text", f"{error}") from error
        if not isinstance(value, bytes):
            raise _refused(path, f"attribute {name}", "text", repr(value)[:200])
        values[name] = value.decode("utf-8", errors="replace")
    return values


def header_attributes(of: Format) -> dict[str, str]:
    """``schema`` and ``version`` as root attributes of a file of this format."""
    assert isinstance(of.version, tuple)
    return {"schema": of.schema, "version": ".".join(map(str, of.version))}


def check_header(path: Path, found: Mapping[str, str], of: Format) -> None:
    """Refuse a file of another schema or major version.

    Args:
        path: for messages.
        found: the file's root attributes, ``schema`` and ``version`` among them.
        of: what the file must be.

    Raises:
        LoopFMError: ``of.error``, naming the attribute, what was expected and what was found.
    """
    numbers = found["version"].split(".")
    version = [int(number) for number in numbers] if all(n.isdigit() for n in numbers) else None
    of.check({"schema": found["schema"], "version": version}, str(path))


def _refused(path: Path, name: str, expected: str, found: str) -> StoreError:
    return StoreError(f"{path}: {name}: expected {expected}, found {found}. {REBUILD}")
