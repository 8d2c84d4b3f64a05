"""What the scripts for published ``x1`` files share: finding, checking and cutting them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from _common import to_category
from _tables import read_header, require_columns

from fuxictr_loopfm.errors import DataError

_BLOCK = 1 << 22


@dataclass(frozen=True)
class Published:
    """A file as it was published: md5 in hex, and its number of data rows."""

    md5: str
    rows: int


def x1_files(folder: Path, names: Sequence[str], columns: Sequence[str]) -> list[Path]:
    """Paths of the x1 tables in ``folder``, each with all ``columns`` in its header.

    Raises:
        DataError: the folder or a file is missing, or a header lacks a column.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder of {' and '.join(names)}")
    paths = [folder / name for name in names]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file; expected the published {', '.join(names)}")
        require_columns(path, read_header(path), columns)
    return paths


def differences(
    paths: Sequence[Path], rows: Sequence[int], published: Mapping[str, Published]
) -> list[str]:
    """What differs from the published files, one text per file; empty if all are the same."""
    found = []
    for path, count in zip(paths, rows, strict=True):
        known = published[path.name]
        md5 = _md5(path)
        if md5 != known.md5:
            found.append(
                f"{path.name} is not the published file: expected md5 {known.md5} and "
                f"{known.rows:,} rows, found {md5} and {count:,} rows"
            )
        elif count != known.rows:
            found.append(
                f"{path.name} is the published file (md5), yet {count:,} rows were read, expected "
                f"{known.rows:,}; please report it"
            )
    return found


def provenance(differing: Sequence[str]) -> str:
    """One clause for the data set's ``source``."""
    if not differing:
        return "the published files (md5 checked)"
    return "other files in its schema (not the published ones)"


def tied_chunks(time: np.ndarray, count: int) -> np.ndarray:
    """Periods (N,) int32 from 1: ``count`` chunks of nearly equal size, rows of one time together.

    Each mark at ``i / count`` of the rows moves to the nearest edge between two different times,
    so that a time with many rows fills a chunk instead of emptying one.

    Args:
        time: (N,) int64, non-decreasing.
        count: number of chunks.

    Raises:
        DataError: there are fewer different times than chunks.
    """
    edges = np.flatnonzero(time[1:] != time[:-1]) + 1
    if len(edges) < count - 1:
        raise DataError(
            f"expected at least {count} different times for {count} periods, found {len(edges) + 1}"
        )
    number = np.arange(count - 1)
    marks = (number + 1) * len(time) / count
    above = np.clip(np.searchsorted(edges, marks), 1, max(len(edges) - 1, 1))
    nearest = above - 1
    if len(edges) > 1:
        nearest = above - (marks - edges[above - 1] <= edges[above] - marks)
    nearest = np.minimum(nearest, len(edges) - (count - 1) + number)
    starts = edges[np.maximum.accumulate(nearest - number) + number]
    return np.searchsorted(starts, np.arange(len(time)), side="right").astype(np.int32) + 1


def as_codes(column: pd.Series) -> pd.Categorical:
    """Text categories stored as codes, in the order of their first row."""
    codes, texts = pd.factorize(to_category(column).to_numpy(dtype=object))
    return pd.Categorical.from_codes(codes, categories=pd.Index(texts, dtype="str"))


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
