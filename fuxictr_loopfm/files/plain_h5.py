"""What an h5 file may hold for us to read it, told before a byte of its data is read.

Only hard links to contiguous, unfiltered datasets of fixed-size types inside the same file, with as
many bytes stored as their shape needs. So a file can neither point a reader at other files, nor
make it load a filter or reserve memory that the file itself does not take on disk.
"""

from __future__ import annotations

import os
from typing import Any

import h5py
import numpy as np

# What h5py raises for damaged files, depending on which structure is damaged.
H5_ERRORS = (
    *(OSError, KeyError, RuntimeError, TypeError, ValueError),
    *(AttributeError, OverflowError, MemoryError, SystemError, ZeroDivisionError),
)


def file_problem(file: h5py.File) -> str | None:
    """Why nothing in a file may be read."""
    if file.userblock_size:
        return f"expected no user block, found {file.userblock_size} bytes before the data"
    return None


def dataset_problem(
    file: h5py.File, name: str, shape: tuple[int, ...] | None, dtype: np.dtype[Any]
) -> str | None:
    """Why ``file[name]`` may not be read, as ``expected ..., found ...``; None if it may.

    Args:
        file: opened for reading.
        name: path from the root, such as ``side/label``.
        shape: expected sizes; None accepts any number of rows of one value each.
        dtype: expected dtype; "S" accepts fixed-length bytes of any length.

    Raises:
        H5_ERRORS: the file is damaged.
    """
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        link = file.get("/".join(parts[:depth]), getlink=True)
        if link is None:
            return "the dataset is missing"
        if not isinstance(link, h5py.HardLink):
            return f"expected data inside the file, found a {type(link).__name__}"
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        return f"expected a dataset, found a {type(dataset).__name__}"
    return _layout_problem(dataset) or _content_problem(file, dataset, shape, dtype)


def _layout_problem(dataset: h5py.Dataset) -> str | None:
    if dataset.is_virtual or dataset.external:
        return "expected data inside the file, found a dataset stored in other files"
    if dataset.chunks is not None:
        return f"expected a contiguous dataset, found chunks of {dataset.chunks}"
    if dataset.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS:
        return "expected a contiguous dataset, found another layout"
    return None


def _content_problem(
    file: h5py.File, dataset: h5py.Dataset, shape: tuple[int, ...] | None, dtype: np.dtype[Any]
) -> str | None:
    any_bytes = dtype == np.dtype("S") and dataset.dtype.kind == "S"
    if dataset.dtype.hasobject or not (any_bytes or dataset.dtype == dtype):
        return f"expected dtype {dtype}, found {dataset.dtype}"
    if shape is None:
        shape = (dataset.shape or (0,))[:1]
    if dataset.shape != shape:
        return f"expected shape {shape}, found {dataset.shape}"
    needed = int(dataset.size) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if stored != needed:
        return f"expected {needed} stored bytes for shape {shape}, found {stored}"
    offset, end = dataset.id.get_offset(), os.stat(file.filename).st_size
    if needed and (offset is None or offset + needed > end):
        return f"expected {needed} bytes inside the file, found them beyond its end"
    return None
