"""Artifacts that build themselves: prepared data, encoded views, teacher, log, store, pointers.

Each artifact lives in a folder named by the fingerprint of everything that determines it. What
exists is reused, what is missing is built under a lock, so parallel processes build it once.
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path

import numpy as np

from fuxictr_loopfm.config.early_checks import require_sound
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.data.encode import EncodedView, build_view
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.atomic import locked
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.pipeline.history_workspace import HistoryWorkspace
from fuxictr_loopfm.pipeline.preparation import run_script
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.schema import MANIFEST_FILE


def prepare_dataset(keys: LoopFMKeys, where: str) -> PreparedDataset:
    """The prepared data set, made from the raw log if it is missing.

    Raises:
        ConfigError: no prepared folder is named, or it is missing with no script or raw data.
        DataError: the preparation failed.
    """
    if keys.prepared is None:
        raise ConfigError(f"{where}: loopfm_prepared: expected a folder, found null")
    folder = Path(keys.prepared)
    with locked(folder):
        if not (folder / "dataset.yaml").is_file():
            _run_preparation(keys, folder, where)
    return PreparedDataset.load(folder)


def _run_preparation(keys: LoopFMKeys, folder: Path, where: str) -> None:
    if keys.prepare is None or (keys.raw_data is not None and not Path(keys.raw_data).exists()):
        raise ConfigError(
            f"{where}: loopfm_prepared: expected a prepared data set in {folder}, found none, and "
            f"loopfm_raw_data={keys.raw_data} is no folder to make it from. Put the raw files "
            "there, or run `loopfm prepare --dataset ID --data RAW_FOLDER`."
        )
    logging.info("Prepare %s with %s", folder.name, Path(keys.prepare).name)
    run_script(Path(keys.prepare), folder, None if keys.raw_data is None else Path(keys.raw_data))


class Workspace(HistoryWorkspace):
    """The artifacts of one vertical experiment, each built on first use."""

    def __init__(self, experiment: Experiment, teacher: Experiment | None) -> None:
        super().__init__(experiment)
        self.teacher = teacher

    @cached_property
    def prepared(self) -> PreparedDataset:
        """The event log; what can be checked before anything is made of it, is.

        Raises:
            ConfigError: see ``prepare_dataset`` and ``early_checks.require_sound``.
        """
        prepared = prepare_dataset(self.keys, self.params["model_id"])
        require_sound(self.experiment, self.teacher, prepared.spec)
        return prepared

    @cached_property
    def view(self) -> EncodedView:
        """This experiment's feature columns in FuxiCTR ids."""
        return build_view(
            self.prepared, self.params, "teacher" if self.keys.view == "teacher" else "vertical"
        )

    @property
    def artifact_root(self) -> Path:
        """Folder of the artifacts of this data set."""
        return Path(self.params["data_root"]) / "artifacts" / self.prepared.spec.dataset_id

    @property
    def extraction_pass(self) -> ExtractionPass:
        """The inference pass that logs; made anew, because it holds the teacher in memory."""
        if self.teacher is None:
            raise ConfigError(
                f"{self.params['model_id']}: loopfm_teacher: expected the expid of a foundation "
                "model, found null. Name a teacher there, or give an expid that has one."
            )
        return ExtractionPass(self.teacher, self.keys, self.prepared, self.artifact_root)

    @cached_property
    def extraction(self) -> ExtractionLog:
        """Logits and compressed embeddings of the logged periods, in event order."""
        return self.extraction_pass.build()

    @property
    def logged_by(self) -> str:
        """Fingerprint of the compressor and so of its teacher; the teacher's own without one."""
        manifest = self.extraction.manifest
        return manifest.compressor_fingerprint or manifest.teacher_fingerprint

    @cached_property
    def teacher_logit(self) -> np.ndarray:
        """(N,) float32 logit by event_id; NaN where nothing was logged."""
        logit = np.full(self.prepared.spec.rows, np.nan, dtype=np.float32)
        logit[self.extraction.event_id] = self.extraction.logit
        return logit

    @cached_property
    def teacher_embedding(self) -> np.ndarray:
        """(N, d) float32 compressed embedding by event_id; NaN where nothing was logged."""
        log = self.extraction
        embedding = np.full((self.prepared.spec.rows, log.manifest.dim), np.nan, dtype=np.float32)
        embedding[log.event_id] = log.embedding
        return embedding

    @property
    def current_values(self) -> np.ndarray | None:
        """(N, d) what ``loopfm_current`` reads, None if nothing; a soft label p becomes 2p - 1."""
        if self.keys.current == "none":
            return None
        if self.keys.current == "soft_label":
            return np.tanh(self.teacher_logit / 2.0)[:, None]
        return self.teacher_embedding

    def logged(self) -> Path:
        """Folder of the teacher's log; built if it is missing."""
        logged = self.extraction_pass
        if not (logged.folder / MANIFEST_FILE).is_file():
            logged.build()
        logged.require_own()
        return logged.folder

    def point(self, folder: Path, entity: str) -> None:
        """Make the pointers of training and test samples, without the encoded view."""
        periods = self.prepared.spec.periods
        trained = periods.vertical_train
        if self.keys.train_on == "all":
            trained = (*periods.teacher_train, *trained)
        for split, numbers in (("train", trained), ("test", periods.test)):
            self.pointers_into(folder, entity, self.prepared.rows_of(numbers), split)
