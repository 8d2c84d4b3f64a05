"""What lies beside the parts of an extraction log: rows to fit codecs on, and provenance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.extraction.extractor import EmbeddingBatch, require_variation
from fuxictr_loopfm.files.atomic import atomic_path
from fuxictr_loopfm.files.plain_arrays import map_npy
from fuxictr_loopfm.store.extraction_log import ExtractionLog, ExtractionManifest
from fuxictr_loopfm.store.part_record import PartRecord

CALIBRATION_ROWS = 200_000
CALIBRATION_FILE = "calibration.npy"


def extraction_provenance(manifest: ExtractionManifest) -> dict[str, Any]:
    """What an event store notes about where its codes come from; see ``store/schema.py``."""
    return {
        "teacher_fingerprint": manifest.teacher_fingerprint,
        "teacher_train_periods": manifest.teacher_train_periods,
        "compressor_fingerprint": manifest.compressor_fingerprint,
        "compressor_fit_periods": manifest.teacher_train_periods,
        "quantizer_fit_periods": [max(manifest.teacher_train_periods)],
    }


def write_calibration(
    folder: Path, parts: Iterator[EmbeddingBatch], taps: str, meta: dict[str, Any]
) -> None:
    """Embeddings of the teacher's last training period: what a quantiser may be fitted on."""
    rows: list[np.ndarray] = []
    for part in parts:
        rows.append(part.embedding)
        if sum(map(len, rows)) >= CALIBRATION_ROWS:
            break
    embedding = np.concatenate(rows)
    require_variation(embedding, taps)
    path = folder / CALIBRATION_FILE
    with atomic_path(path) as temporary:
        np.save(temporary, embedding, allow_pickle=False)
    PartRecord.write(path, len(embedding), meta)


def calibration_embedding(folder: Path) -> np.ndarray:
    """(n, d) float32 embeddings for fitting a quantiser; none is from a logged period.

    Raises:
        StoreError: the file is missing or damaged.
    """
    path = folder / CALIBRATION_FILE
    record = ExtractionLog.read_manifest(folder).calibration
    problem = None if record is None else record.problem(path)
    if problem:
        raise StoreError(f"{problem}. Delete {folder} to log again.")
    return calibration_rows(folder)


def calibration_rows(folder: Path) -> np.ndarray:
    """The same while the log is being written, from a file that was just checked.

    Raises:
        StoreError: the file is missing or damaged.
    """
    path = folder / CALIBRATION_FILE
    try:
        return np.array(map_npy(path, kind="f", ndim=2))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: expected embeddings to fit the codec on, found a damaged file ({error}). "
            f"Delete {folder} to log again."
        ) from error
