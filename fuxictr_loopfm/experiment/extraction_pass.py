"""Stage 1's pass over the log: logits and embeddings of every period that histories may use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.events import PreparedDataset
from fuxictr_loopfm.experiment.checks import require_origin
from fuxictr_loopfm.experiment.experiment import Experiment
from fuxictr_loopfm.experiment.key_rules import split_names
from fuxictr_loopfm.experiment.keys import LoopFMKeys
from fuxictr_loopfm.experiment.teacher import TeacherRun
from fuxictr_loopfm.experiment.trainer import progress
from fuxictr_loopfm.extraction.extractor import extract
from fuxictr_loopfm.extraction.tap import TapRecorder
from fuxictr_loopfm.fsio import atomic_path, fingerprint, locked
from fuxictr_loopfm.store.extraction_log import ExtractionLog, ExtractionManifest, PartRecord
from fuxictr_loopfm.store.schema import MANIFEST_FILE

CALIBRATION_ROWS = 200_000
CALIBRATION_FILE = "calibration.npy"


def build_extraction(
    teacher: Experiment, keys: LoopFMKeys, prepared: PreparedDataset, root: Path
) -> ExtractionLog:
    """Log every period that histories may use: one inference pass for logits and embeddings.

    Finished periods of an interrupted pass are kept. Paper: arXiv:2605.29280, Sec. 3, stage 1.
    """
    run = TeacherRun(teacher, keys, prepared, root)
    periods = list(prepared.spec.periods.log)
    if keys.backfill:
        periods = sorted({*periods, *prepared.spec.periods.teacher_train})
    identity = {"compressor": run.compressor_fingerprint, "periods": periods}
    folder = root / f"extraction-{fingerprint(identity)}"
    with locked(folder):
        if not (folder / MANIFEST_FILE).is_file():
            run.ready()
            logging.info("Extract periods %s with %s", periods, teacher.expid)
            with TapRecorder(run.model, run.taps()) as recorder:
                _write_calibration(folder, _embed(run, recorder, _last_training_period(prepared)))
                parts = tuple(_parts(folder, run, recorder, periods))
            manifest = ExtractionManifest(
                dim=1 if run.logs_soft_label else keys.dim,
                taps=list(split_names(keys.taps)),
                teacher_fingerprint=run.teacher_fingerprint,
                compressor_fingerprint=run.compressor_fingerprint,
                teacher_train_periods=list(prepared.spec.periods.teacher_train),
                logged_periods=periods,
                parts=parts,
            )
            ExtractionLog.write_manifest(folder, manifest)
    expected = {
        "teacher_fingerprint": run.teacher_fingerprint,
        "compressor_fingerprint": run.compressor_fingerprint,
        "logged_periods": periods,
    }
    found = asdict(ExtractionLog.read_manifest(folder))
    require_origin(folder / MANIFEST_FILE, expected, found)
    return ExtractionLog.open(folder)


def _parts(
    folder: Path, run: TeacherRun, recorder: TapRecorder, periods: list[int]
) -> Iterator[PartRecord]:
    """Log period after period; with ``every_period`` the teacher then learns from each."""
    if run.keys.checkpoint == "every_period":
        run.restart()
    for period in periods:
        if run.keys.checkpoint == "fixed":
            yield _period_part(folder, run, recorder, period)
            continue
        yield _write_period(folder, run, recorder, period)
        if period not in run.prepared.spec.periods.teacher_train:
            run.train_on(run.batches_of_period(period), recorder, epochs=1)


def _last_training_period(prepared: PreparedDataset) -> int:
    return max(prepared.spec.periods.teacher_train)


def extraction_provenance(log: ExtractionLog) -> dict[str, Any]:
    """What an event store notes about where its codes come from; see ``store/schema.py``."""
    manifest = log.manifest
    return {
        "teacher_fingerprint": manifest.teacher_fingerprint,
        "teacher_train_periods": manifest.teacher_train_periods,
        "compressor_fingerprint": manifest.compressor_fingerprint,
        "compressor_fit_periods": manifest.teacher_train_periods,
        "quantizer_fit_periods": [max(manifest.teacher_train_periods)],
    }


def _embed(run: TeacherRun, recorder: TapRecorder, period: int) -> Iterator[Any]:
    batches = progress(run.batches_of_period(period), run.model, f"extract period {period}")
    return extract(run.model, recorder, run.encode, batches)


def _period_part(folder: Path, run: TeacherRun, recorder: TapRecorder, period: int) -> PartRecord:
    """Log one period, or find it whole from an interrupted pass."""
    finished = ExtractionLog.finished_part(folder, _part_name(period), _part_meta(run))
    return finished or _write_period(folder, run, recorder, period)


def _write_period(folder: Path, run: TeacherRun, recorder: TapRecorder, period: int) -> PartRecord:
    parts = list(_embed(run, recorder, period))
    return ExtractionLog.write_part(
        folder,
        _part_name(period),
        np.concatenate([part.event_id for part in parts]),
        np.concatenate([part.embedding for part in parts]),
        np.concatenate([part.logit for part in parts]),
        _part_meta(run),
    )


def _part_name(period: int) -> str:
    return f"period-{period:04d}"


def _part_meta(run: TeacherRun) -> dict[str, str]:
    return {"compressor": run.compressor_fingerprint}


def _write_calibration(folder: Path, parts: Iterator[Any]) -> None:
    """Embeddings of the teacher's last training period: what a quantiser may be fitted on."""
    rows: list[np.ndarray] = []
    for part in parts:
        rows.append(part.embedding)
        if sum(map(len, rows)) >= CALIBRATION_ROWS:
            break
    with atomic_path(folder / CALIBRATION_FILE) as temporary:
        np.save(temporary, np.concatenate(rows), allow_pickle=False)


def calibration_embedding(folder: Path) -> np.ndarray:
    """(n, d) float32 embeddings for fitting a quantiser; none is from a logged period.

    Raises:
        StoreError: the file is missing or damaged.
    """
    path = folder / CALIBRATION_FILE
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: expected embeddings to fit the codec on, found a damaged file ({error}). "
            f"Delete {folder} to log again."
        ) from error
