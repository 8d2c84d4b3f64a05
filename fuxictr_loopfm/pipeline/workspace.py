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
from fuxictr_loopfm.files.atomic import fingerprint, locked
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.pipeline.preparation import run_script
from fuxictr_loopfm.pipeline.structuring_pass import StructuringPass
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.part_record import record_path
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.store.schema import MANIFEST_FILE, StoreManifest
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.structuring.builder import build_pointers
from fuxictr_loopfm.structuring.pointing import exchanged, pointers_of_events


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


class Workspace:
    """The artifacts of one vertical experiment, each built on first use."""

    def __init__(self, experiment: Experiment, teacher: Experiment | None) -> None:
        self.experiment = experiment
        self.keys = experiment.keys
        self.params = experiment.params
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
    def current_values(self) -> np.ndarray:
        """(N, d) what ``loopfm_current`` reads; a soft label p is read as 2p - 1."""
        if self.keys.current == "soft_label":
            return np.tanh(self.teacher_logit / 2.0)[:, None]
        return self.teacher_embedding

    def structuring(self, entity: str) -> StructuringPass:
        """What builds the store of an entity; with codes only if the history reads embeddings.

        Args:
            entity: column whose values say whose an event is, such as the user. Here and below.
        """
        extraction = None
        if "embedding" in self.keys.columns:
            logged = self.extraction_pass
            if not (logged.folder / MANIFEST_FILE).is_file():
                logged.build()
            logged.require_own()
            extraction = logged.folder
        return StructuringPass(
            self.keys,
            self.prepared,
            entity,
            extraction,
            self.artifact_root,
            self.experiment.zoos,
        )

    def store(self, entity: str) -> EventStore:
        """Events sorted by entity and time; built if it is missing."""
        return EventStore.open(self.structuring(entity).build())

    def store_manifest(self, entity: str) -> StoreManifest:
        """What is in that store; built if it is missing."""
        return read_manifest(self.structuring(entity).build())

    def pointers(self, store: EventStore, entity: str, split: str) -> Pointers:
        """(end, length) of each sample of a split under the causal rule."""
        return self.pointers_into(store.folder, entity, self.view.rows(split), split)

    def point(self, folder: Path, entity: str) -> None:
        """Make the pointers of training and test samples, without the encoded view."""
        periods = self.prepared.spec.periods
        for split, numbers in (("train", periods.vertical_train), ("test", periods.test)):
            self.pointers_into(folder, entity, self.prepared.rows_of(numbers), split)

    def pointers_into(self, folder: Path, entity: str, rows: slice, split: str) -> Pointers:
        """Pointers of some rows of the log into the store in a folder.

        Args:
            folder: of the store.
            entity: column whose values say whose an event is.
            rows: the samples, by event_id.
            split: their name.
        """
        described = self.prepared.spec
        spec = self.keys.sequence_spec(described.time_unit, described.known_columns)
        manifest = read_manifest(folder)
        identity = {
            "store": manifest.fingerprint,
            "spec": spec.to_dict(),
            "rows": [rows.start, rows.stop],
            "control": self.keys.control,
        }
        path = self.artifact_root / "pointers" / f"{split}-{fingerprint(identity)}.h5"
        with locked(path):
            # Pointers of earlier releases do not say whose they are; they are made again.
            if not (path.is_file() and record_path(path).is_file()):
                self._point(folder, entity, rows, spec).save(path, identity)
        count = rows.stop - rows.start
        return Pointers.load(path, store=manifest, spec=spec, num_samples=count, samples=identity)

    def _point(self, folder: Path, entity: str, rows: slice, spec: SequenceSpec) -> Pointers:
        shuffled = self.keys.control == "shuffled_users"
        pointers = None if shuffled else pointers_of_events(folder, rows, spec)
        if pointers is not None:
            return pointers
        entities = self.prepared.array(entity)[rows]
        times = self.prepared.timestamp[rows]
        store = EventStore.open(folder)
        return build_pointers(store, exchanged(entities) if shuffled else entities, times, spec)
