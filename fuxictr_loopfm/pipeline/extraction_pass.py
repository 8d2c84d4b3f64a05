"""Stage 1's pass over the log: logits and embeddings of every period that histories may use.

The pass is cut into parts, see ``extraction/parts.py``. They are written by this process, by
several, by a Ray cluster, or by the jobs of a scheduler that each take a share; the bytes are the
same. Paper: arXiv:2605.29280, Sec. 3, stage 1.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.config.names import split_names
from fuxictr_loopfm.engine import run_shards
from fuxictr_loopfm.errors import ConfigError, StoreError
from fuxictr_loopfm.extraction.parts import PART_ROWS, Part, plan_parts, share_of
from fuxictr_loopfm.extraction.tap import TapRecorder
from fuxictr_loopfm.files.atomic import fingerprint, locked
from fuxictr_loopfm.pipeline.continual import ContinualPass
from fuxictr_loopfm.pipeline.extraction_files import CALIBRATION_FILE, write_calibration
from fuxictr_loopfm.pipeline.extraction_task import (
    ExtractionTask,
    embed,
    finished_part,
)
from fuxictr_loopfm.pipeline.origin import require_origin
from fuxictr_loopfm.pipeline.teacher import TeacherRun
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store.extraction_log import ExtractionLog, ExtractionManifest
from fuxictr_loopfm.store.part_record import PartRecord, finished_file
from fuxictr_loopfm.store.schema import MANIFEST_FILE


def upstream_pass(
    teacher: Experiment, prepared: PreparedDataset, root: Path
) -> ExtractionPass | None:
    """The pass whose embeddings a teacher's history reads; None if it reads none.

    Raises:
        ConfigError: no other teacher is named.
    """
    if not teacher.keys.reads_embeddings:
        return None
    if teacher.upstream is None:
        raise ConfigError(
            f"{teacher.where}: loopfm_teacher: expected the expid of another teacher, whose past "
            "embeddings this one reads, found none"
        )
    return ExtractionPass(teacher.upstream, teacher.keys, prepared, root)


class ExtractionPass:
    """One inference pass of a teacher for logits and embeddings, and the folder it fills.

    Args:
        teacher: the foundation model's experiment.
        keys: of the experiment that wants the log.
        prepared: the event log.
        root: folder of the data set's artifacts.
    """

    def __init__(
        self, teacher: Experiment, keys: LoopFMKeys, prepared: PreparedDataset, root: Path
    ) -> None:
        self.upstream = upstream_pass(teacher, prepared, root)
        upstream: Path | None = None if self.upstream is None else self.upstream.folder
        self.run = TeacherRun(teacher, keys, prepared, root, upstream)
        given, learned = prepared.spec.periods, set(self.run.train_periods)
        self.periods = sorted({*given.log, *given.teacher_train} - learned)
        if keys.logs_training:
            self.periods = sorted({*self.periods, *learned})
        identity = {"compressor": self.run.log_fingerprint, "periods": self.periods}
        self.folder: Path = root / f"extraction-{fingerprint(identity)}"
        rows = {period: prepared.rows_of((period,)) for period in self.periods}
        self.parts = plan_parts(
            {period: found.stop - found.start for period, found in rows.items()},
            teacher.params["batch_size"],
            PART_ROWS,
        )

    def build(self, *, engine: str = "processes", workers: int = 1) -> ExtractionLog:
        """Log every period, or open the log that is there; finished parts of an earlier try stay.

        Raises:
            ConfigError: several workers, or Ray, for a teacher that goes on learning in between.
        """
        self._require_independent_parts(workers > 1 or engine != "processes")
        with locked(self.folder):
            if not self._is_complete():
                self._begin()
                if self._learns_on:
                    ContinualPass(self.run, self.folder, self.parts).build()
                else:
                    self._write(self.parts, engine, workers)
                self._complete(self._finished())
        return self._open()

    def build_share(
        self, number: int, count: int, *, engine: str = "processes", workers: int = 1
    ) -> ExtractionLog | None:
        """Log share ``number`` (from 1) of ``count``; whoever ends last completes the log.

        Returns:
            The log, or None while parts of other shares are missing.
        Raises:
            ConfigError: the teacher goes on learning between the periods.
        """
        self._require_independent_parts(True)
        with locked(self.folder):
            if not self._is_complete():
                self._begin()
        if not self._is_complete():
            self._write(share_of(self.parts, number, count), engine, workers)
            with locked(self.folder):
                found = self._finished()
                if len(found) < len(self.parts):
                    return None
                self._complete(found)
        return self._open()

    def task(self, parts: Sequence[Part], *, apart: bool) -> ExtractionTask:
        """What workers are sent.

        Args:
            parts: the parts to write.
            apart: each is a shard of its own; otherwise a period's parts are one, which reads the
                period once.
        """
        shards: dict[Any, list[Part]] = {}
        for part in parts:
            shards.setdefault(part.name if apart else part.period, []).append(part)
        return ExtractionTask(self.run, self.folder, list(shards.values()))

    @property
    def _learns_on(self) -> bool:
        return self.run.keys.checkpoint != "fixed"

    def _require_independent_parts(self, wanted: bool) -> None:
        if wanted and self._learns_on:
            raise ConfigError(
                f"{self.run.teacher.expid}: loopfm_checkpoint: expected 'fixed' for an extraction "
                f"by several workers or shares, found {self.run.keys.checkpoint!r}, which logs "
                "each period with a teacher that has learned the one before. Leave --shard, "
                "--engine and --workers out."
            )

    def _is_complete(self) -> bool:
        return (self.folder / MANIFEST_FILE).is_file()

    def _begin(self) -> None:
        """Have the teacher trained, and log what a codec may be fitted on."""
        run = self.trained()
        logging.info("Extract periods %s with %s", self.periods, run.teacher.expid)
        if self._calibration() is None:
            with TapRecorder(run.model, run.taps()) as recorder:
                last = max(run.train_periods)
                embedded = embed(run, recorder, last)
                meta = self._calibration_meta
                write_calibration(self.folder, embedded, run.keys.taps, meta)

    @property
    def _calibration_meta(self) -> dict[str, Any]:
        return {"compressor": self.run.compressor_fingerprint}

    def _calibration(self) -> PartRecord | None:
        """Record of what codecs are fitted on, if that is whole and this compressor's."""
        return finished_file(self.folder / CALIBRATION_FILE, self._calibration_meta)

    def trained(self) -> TeacherRun:
        """The teacher, trained or loaded; before it the teachers whose embeddings it reads."""
        if self.upstream is not None:
            self.upstream.build()
        return self.run.ready()

    def _write(self, parts: Sequence[Part], engine: str, workers: int) -> None:
        task = self.task(parts, apart=workers > 1 or engine != "processes")
        run_shards(task, range(len(task.shards)), engine=engine, workers=workers)

    def _finished(self) -> list[PartRecord]:
        records = (finished_part(self.run, self.folder, part) for part in self.parts)
        return [record for record in records if record is not None]

    def _complete(self, records: list[PartRecord]) -> None:
        run = self.run
        calibration = self._calibration()
        if calibration is None:
            raise StoreError(
                f"{self.folder / CALIBRATION_FILE}: was altered while the log was written. Run the "
                "experiment again; finished parts are kept."
            )
        manifest = ExtractionManifest(
            dim=1 if run.logs_soft_label else run.keys.dim,
            taps=list(split_names(run.keys.taps)),
            teacher_fingerprint=run.teacher_fingerprint,
            compressor_fingerprint=run.log_fingerprint,
            teacher_train_periods=list(run.train_periods),
            logged_periods=self.periods,
            parts=tuple(records),
            dataset_fingerprint=run.prepared.fingerprint,
            calibration=calibration,
        )
        if self._learns_on:
            ContinualPass(run, self.folder, self.parts).clear()
        ExtractionLog.write_manifest(self.folder, manifest)

    def require_own(self) -> ExtractionManifest:
        """The manifest of the log in the folder, which is complete.

        Raises:
            ProvenanceError: it is another teacher's.
        """
        expected = {
            "teacher_fingerprint": self.run.teacher_fingerprint,
            "compressor_fingerprint": self.run.log_fingerprint,
            "logged_periods": self.periods,
        }
        manifest = ExtractionLog.read_manifest(self.folder)
        require_origin(self.folder / MANIFEST_FILE, expected, asdict(manifest))
        return manifest

    def _open(self) -> ExtractionLog:
        self.require_own()
        return ExtractionLog.open(self.folder)
