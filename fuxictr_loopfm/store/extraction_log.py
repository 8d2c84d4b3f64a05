"""The teacher's output in event order, before it is quantised and sorted into an event store.

One file per part of a period, so that an interrupted inference pass continues after its last whole
part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import ConfigError, DataError, StoreError
from fuxictr_loopfm.files.atomic import atomic_path, read_whole, write_json
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.seals import with_seal
from fuxictr_loopfm.store import h5
from fuxictr_loopfm.store.part_record import PartRecord, finished_file
from fuxictr_loopfm.store.schema import MANIFEST_FILE, REBUILD

SCHEMA = "loopfm.extraction"
# A part's own version; the same rows give the same bytes as in every release.
_PART_FORMAT = Format(SCHEMA, (1, 0), StoreError, REBUILD)
_PART_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class ExtractionManifest:
    """What was logged, by which teacher and compressor.

    Attributes:
        dim: d, width of ``embedding``.
        taps: the teacher's tapped layers.
        teacher_fingerprint: the checkpoint that made the pass.
        compressor_fingerprint: the compressor applied, or None.
        teacher_train_periods: periods the teacher was trained on.
        logged_periods: periods in the log.
        parts: in event order.
        dataset_fingerprint: of the data set it was made from; None in older manifests.
        calibration: record of what codecs may be fitted on, if that is kept beside the parts.
    """

    dim: int
    taps: list[str]
    teacher_fingerprint: str
    compressor_fingerprint: str | None
    teacher_train_periods: list[int]
    logged_periods: list[int]
    parts: tuple[PartRecord, ...]
    dataset_fingerprint: str | None = None
    calibration: PartRecord | None = None


@dataclass(frozen=True)
class ExtractionLog:
    """All parts, n events in event order.

    Attributes:
        folder: where it was read from.
        manifest: its description.
        event_id: (n,) int64, strictly increasing.
        logit: (n,) float32 teacher logit.
    """

    folder: Path
    manifest: ExtractionManifest
    event_id: NDArray[np.int64]
    logit: NDArray[np.float32]

    @staticmethod
    def write_part(
        folder: Path | str,
        name: str,
        event_id: NDArray[np.int64],
        embedding: NDArray[np.float32],
        logit: NDArray[np.float32],
        meta: dict[str, Any],
    ) -> PartRecord:
        """Write one part; its record is written last, so a part with a record is whole.

        Args:
            folder: the extraction folder.
            name: letters, digits, "_" and "-".
            event_id: (n,) int64, strictly increasing.
            embedding: (n, d) float32, finite.
            logit: (n,) float32, finite.
            meta: JSON values that determine the content.

        Raises:
            DataError: shapes do not fit, a value is not finite, or the events are out of order.
            StoreError: the part cannot be written.
        """
        _check_name(name)
        arrays: dict[str, NDArray[Any]] = {
            "event_id": np.asarray(event_id, dtype=np.int64),
            "embedding": np.asarray(embedding, dtype=np.float32),
            "logit": np.asarray(logit, dtype=np.float32),
        }
        _check_part(name, arrays)
        path = _part_path(folder, name)
        with h5.writing(path):
            with atomic_path(path) as temporary:
                h5.write_contiguous(temporary, arrays, h5.header_attributes(_PART_FORMAT))
            return PartRecord.write(path, len(event_id), meta)

    @staticmethod
    def finished_part(folder: Path | str, name: str, meta: dict[str, Any]) -> PartRecord | None:
        """The record of a whole, unaltered part made with the same ``meta``; None otherwise."""
        _check_name(name)
        return finished_file(_part_path(folder, name), meta)

    @staticmethod
    def read_part(
        folder: Path | str, record: PartRecord
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(event_id (n,), embedding (n, d)) of one finished part, before the log is complete.

        Raises:
            StoreError: missing, truncated or altered.
        """
        with open_part(Path(folder), record) as file:
            return file["event_id"][:], file["embedding"][:]

    @staticmethod
    def write_manifest(folder: Path | str, manifest: ExtractionManifest) -> None:
        """Declare the extraction complete; readers refuse a folder without this file."""
        plain = asdict(manifest)
        plain.update(FORMAT.header)
        path = Path(folder) / MANIFEST_FILE
        with h5.writing(path):
            write_json(path, with_seal(plain))

    @staticmethod
    def read_manifest(folder: Path | str) -> ExtractionManifest:
        """Read the manifest without opening any part.

        Raises:
            StoreError: missing, no valid manifest, or of an unknown major version.
        """
        path = Path(folder) / MANIFEST_FILE
        if not path.is_file():
            raise StoreError(
                f"{path}: the file is missing, so the extraction is not complete. Run the "
                f"experiment again; it continues after the last whole part."
            )
        plain = FORMAT.read_json(path)
        try:
            values = {name: plain[name] for name in _REQUIRED}
            values["dataset_fingerprint"] = plain.get("dataset_fingerprint")
            values["parts"] = tuple(PartRecord.from_dict(part) for part in plain["parts"])
            if plain.get("calibration") is not None:
                values["calibration"] = PartRecord.from_dict(plain["calibration"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: no valid manifest ({error}). {REBUILD}") from error
        for part in values["parts"]:
            if not _PART_NAME.fullmatch(part.name):
                raise StoreError(f"{path}: part name {part.name!r}: is no file name. {REBUILD}")
        if type(values["dim"]) is not int or values["dim"] < 0:
            raise StoreError(f"{path}: dim: expected 0 or more, found {values['dim']!r}. {REBUILD}")
        return ExtractionManifest(**values)

    @classmethod
    def open(cls, folder: Path | str) -> ExtractionLog:
        """Check all parts and read everything but the embeddings.

        Args:
            folder: the extraction folder.

        Raises:
            StoreError: incomplete, truncated, altered, or with events out of order.
        """
        folder = Path(folder)
        return read_whole(folder, lambda: cls._open(folder))

    @classmethod
    def _open(cls, folder: Path) -> ExtractionLog:
        manifest = cls.read_manifest(folder)
        for part in manifest.parts:
            # Before memory is reserved for the rows that the manifest claims.
            h5.check_size(_part_path(folder, part.name), part.bytes)
            if not 0 <= part.rows * (12 + 4 * manifest.dim) <= part.bytes:
                raise StoreError(
                    f"{_part_path(folder, part.name)}: expected {part.rows} rows of dim "
                    f"{manifest.dim}, found a file of {part.bytes} bytes. {REBUILD}"
                )
        rows = sum(part.rows for part in manifest.parts)
        log = cls(folder, manifest, np.empty(rows, np.int64), np.empty(rows, np.float32))
        for part, place in log._places():
            path = _part_path(folder, part.name)
            with open_part(folder, part) as file:
                h5.find_dataset(file, path, "embedding", (part.rows, manifest.dim), np.float32)
                for name, target in (("event_id", log.event_id), ("logit", log.logit)):
                    dataset = h5.find_dataset(file, path, name, (part.rows,), target.dtype)
                    h5.read_into(dataset, target[place])
        _check_order(folder, log.event_id)
        return log

    @cached_property
    def embedding(self) -> NDArray[np.float32]:
        """(n, d) float32 in [-1, 1], compressed but not yet quantised; read when first asked for.

        Raises:
            StoreError: a part was changed since the log was opened.
        """
        return read_whole(self.folder, self._read_embedding)

    def _read_embedding(self) -> NDArray[np.float32]:
        embedding = np.empty((len(self.event_id), self.manifest.dim), np.float32)
        for part, place in self._places():
            path = _part_path(self.folder, part.name)
            with open_part(self.folder, part) as file:
                shape = embedding[place].shape
                dataset = h5.find_dataset(file, path, "embedding", shape, np.float32)
                h5.read_into(dataset, embedding[place])
        return embedding

    def _places(self) -> Iterator[tuple[PartRecord, slice]]:
        """Each part, and its rows in the log."""
        first = 0
        for part in self.manifest.parts:
            yield part, slice(first, first + part.rows)
            first += part.rows


# What every release wrote; later entries are optional.
_REQUIRED = tuple(
    entry.name
    for entry in fields(ExtractionManifest)
    if entry.name not in ("dataset_fingerprint", "calibration")
)
FORMAT = Format(
    SCHEMA,
    (1, 1),
    StoreError,
    REBUILD,
    unsealed_entries=(*_REQUIRED, "schema", "version"),
)


@contextmanager
def open_part(folder: Path, part: PartRecord) -> Iterator[h5py.File]:
    """Open the file of a part whose bytes are the recorded ones.

    Raises:
        StoreError: missing, truncated or altered.
    """
    path = _part_path(folder, part.name)
    problem = part.problem(path)
    if problem:
        raise StoreError(f"{problem}. {REBUILD}")
    with h5.open_h5(path) as file:
        yield file


def part_problems(folder: Path, manifest: ExtractionManifest) -> list[str]:
    """What is wrong with the files of a log; empty if nothing is."""
    found = [part.problem(_part_path(folder, part.name)) for part in manifest.parts]
    return [f"{problem}. {REBUILD}" for problem in found if problem]


def _part_path(folder: Path | str, name: str) -> Path:
    return Path(folder) / f"{name}.h5"


def _check_order(folder: Path, event_id: NDArray[np.int64]) -> None:
    falls = event_id[1:] <= event_id[:-1]
    if falls.any():
        row = int(np.argmax(falls)) + 1
        raise StoreError(
            f"{folder}: event_id: expected rising event ids over all parts, found "
            f"{event_id[row]} after {event_id[row - 1]} at row {row}. {REBUILD}"
        )


def _check_name(name: str) -> None:
    if not _PART_NAME.fullmatch(name):
        raise ConfigError(
            f"part name: expected letters, digits, '_' and '-', found {name!r}. Rename the part."
        )


def _check_part(name: str, arrays: dict[str, NDArray[Any]]) -> None:
    event_id, embedding, logit = arrays["event_id"], arrays["embedding"], arrays["logit"]
    problems = []
    if event_id.ndim != 1 or embedding.shape[:1] != event_id.shape or embedding.ndim != 2:
        problems.append(
            f"embedding: expected one row per event id {event_id.shape}, found {embedding.shape}"
        )
    if logit.shape != event_id.shape:
        problems.append(f"logit: expected shape {event_id.shape}, found {logit.shape}")
    if (event_id[1:] <= event_id[:-1]).any():
        problems.append("event_id: expected rising event ids, found others")
    for column in ("embedding", "logit"):
        if not np.isfinite(arrays[column]).all():
            problems.append(f"{column}: expected finite numbers, found NaN or infinity")
    if problems:
        raise DataError(
            f"extraction part {name}: {'; '.join(problems)}. Check the teacher's training."
        )
