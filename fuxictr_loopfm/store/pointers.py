"""One (end, length) pair per sample: where its history lies in an event store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.files.atomic import atomic_path
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store import h5
from fuxictr_loopfm.store.part_record import PartRecord, record_path
from fuxictr_loopfm.store.schema import StoreManifest

REBUILD_POINTERS = (
    "Delete it and the file of the same name beside it and run the experiment again; pointers are "
    "rebuilt in seconds."
)
FORMAT = Format("loopfm.pointers", (1, 0), StoreError, REBUILD_POINTERS)


@dataclass(frozen=True)
class Pointers:
    """Histories of S samples as half-open row ranges ``[end - length, end)`` of one store.

    Attributes:
        end: (S,) uint32 (int64 from 2**32 rows on) exclusive store row; 0 for an empty history.
        length: (S,) uint8 (uint16 when max_len > 255), at most ``spec.max_len``.
        spec: the rule they follow.
        store_fingerprint: the store whose rows they are.
    """

    end: NDArray[Any]
    length: NDArray[Any]
    spec: SequenceSpec
    store_fingerprint: str

    def __len__(self) -> int:
        return len(self.end)

    def save(self, path: Path | str, samples: Mapping[str, Any] | None = None) -> None:
        """Write an h5 file that is either whole or absent, and its record after it.

        Args:
            path: file to write.
            samples: JSON values that say whose histories these are.

        Raises:
            StoreError: the file cannot be written.
        """
        path = Path(path)
        arrays = {"end": self.end, "len": self.length}
        attributes = {
            **h5.header_attributes(FORMAT),
            "store": self.store_fingerprint,
            "spec": json.dumps(self.spec.to_dict(), sort_keys=True),
            "samples": str(len(self)),
            "sha256": _checksum(self.end, self.length),
        }
        with h5.writing(path):
            with atomic_path(path) as temporary:
                h5.write_contiguous(temporary, arrays, attributes)
            PartRecord.write(path, len(self), dict(samples or {}))

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        store: StoreManifest,
        spec: SequenceSpec,
        num_samples: int | None = None,
        samples: Mapping[str, Any] | None = None,
    ) -> Pointers:
        """Read pointers that belong to this store and follow this rule.

        Args:
            path: file written by :meth:`save`.
            store: manifest of the store they are used with.
            spec: the rule they must follow.
            num_samples: expected S, if known.
            samples: whose histories they must be, as given to :meth:`save`; None does not ask.

        Raises:
            StoreError: missing, truncated, altered, of an unknown major version, or made for
                another store, rule or samples.
        """
        path = Path(path)
        _check_record(path, samples)
        names = ("schema", "version", "store", "spec", "samples", "sha256")
        with h5.open_h5(path) as file:
            found = h5.read_attributes(file, path, names)
            h5.check_header(path, found, FORMAT)
            expected = {
                "store": store.fingerprint,
                "spec": json.dumps(spec.to_dict(), sort_keys=True),
                "samples": found["samples"] if num_samples is None else str(num_samples),
            }
            for name, value in expected.items():
                _expect(path, name, value, found[name])
            count = _sample_count(path, found["samples"])
            end_dtype, length_dtype = pointer_dtypes(store.rows, spec.max_len)
            end = h5.read_array(h5.find_dataset(file, path, "end", (count,), end_dtype))
            length = h5.read_array(h5.find_dataset(file, path, "len", (count,), length_dtype))
        _expect(path, "sha256", found["sha256"], _checksum(end, length))
        return cls(end=end, length=length, spec=spec, store_fingerprint=store.fingerprint)


def pointer_dtypes(store_rows: int, max_len: int) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Smallest dtypes of ``end`` and ``length`` for a store of that many events."""
    end = np.uint32 if store_rows + 1 <= np.iinfo(np.uint32).max else np.int64
    return np.dtype(end), np.dtype(np.uint8 if max_len <= 255 else np.uint16)


def file_problem(path: Path) -> str | None:
    """Why a file is not what its record says; None if it is, or if it has none.

    Files of earlier releases have no record; the checksum inside them is compared when they are
    read.
    """
    if not record_path(path).is_file():
        return None
    try:
        problem = PartRecord.read(path).problem(path)
    except StoreError as error:
        return str(error)
    return f"{problem}. {REBUILD_POINTERS}" if problem else None


def _check_record(path: Path, samples: Mapping[str, Any] | None) -> None:
    problem = file_problem(path)
    if problem:
        raise StoreError(problem)
    if samples is not None:
        found = PartRecord.read(path).meta if record_path(path).is_file() else None
        _expect(record_path(path), "meta", json.loads(json.dumps(samples)), found)


def _checksum(end: NDArray[Any], length: NDArray[Any]) -> str:
    return h5.array_sha256(end) + h5.array_sha256(length)


def _sample_count(path: Path, text: str) -> int:
    if not text.isdigit():
        raise StoreError(f"{path}: samples: expected a number, found {text!r}. {REBUILD_POINTERS}")
    return int(text)


def _expect(path: Path, name: str, expected: Any, found: Any) -> None:
    if found != expected:
        raise StoreError(f"{path}: {name}: expected {expected}, found {found}. {REBUILD_POINTERS}")
