"""Artifacts that build themselves: prepared data, encoded views, teacher, log, store, pointers.

Each artifact lives in a folder named by the fingerprint of everything that determines it. What
exists is reused, what is missing is built under a lock, so parallel processes build it once.
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.compression.quantizer import build_codec
from fuxictr_loopfm.data.encode import EncodedView, build_view
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.events import PreparedDataset
from fuxictr_loopfm.experiment.checks import require_origin
from fuxictr_loopfm.experiment.experiment import Experiment
from fuxictr_loopfm.experiment.extraction_pass import (
    build_extraction,
    calibration_embedding,
    extraction_provenance,
)
from fuxictr_loopfm.experiment.keys import LoopFMKeys
from fuxictr_loopfm.experiment.preparation import run_script
from fuxictr_loopfm.fsio import fingerprint, locked
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.structuring.builder import build_pointers, build_store
from fuxictr_loopfm.structuring.event_filter import matching_rows


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
        self._teacher = teacher

    @cached_property
    def prepared(self) -> PreparedDataset:
        """The event log."""
        return prepare_dataset(self.keys, self.params["model_id"])

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

    @cached_property
    def extraction(self) -> ExtractionLog:
        """Logits and compressed embeddings of the logged periods, in event order."""
        if self._teacher is None:
            raise ConfigError(
                f"{self.params['model_id']}: loopfm_teacher: expected the expid of a foundation "
                "model, found null"
            )
        return build_extraction(self._teacher, self.keys, self.prepared, self.artifact_root)

    @property
    def teacher_fingerprint(self) -> str:
        """Identifies the teacher and compressor that logged."""
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

    def logged_rows(self) -> np.ndarray:
        """(E,) event ids that may enter a history: what the teacher logs, after the filter."""
        periods = self.prepared.spec.periods
        logged = set(periods.log) | (set(periods.teacher_train) if self.keys.backfill else set())
        rows = np.flatnonzero(np.isin(self.prepared.period, sorted(logged)))
        if self.keys.event_filter is None:
            return rows
        rows = rows[matching_rows(self.prepared, self.keys.event_filter)[rows]]
        if not len(rows):
            raise ConfigError(
                f"{self.params['model_id']}: loopfm_event_filter: expected a filter that some "
                f"logged event passes, found {self.keys.event_filter!r}, which none does"
            )
        return rows

    def store(self, key: str) -> EventStore:
        """Events sorted by ``key`` and time; with codes only if the history reads embeddings."""
        with_codes = "embedding" in self.keys.columns
        identity = {
            "prepared": self.prepared.fingerprint,
            "extraction": self.extraction.folder.name if with_codes else None,
            "codec": self.keys.codec if with_codes else "none",
            "key": key,
            "event_filter": self.keys.event_filter,
            "backfill": self.keys.backfill,
            "num_shards": self.keys.num_shards,
        }
        folder = self.artifact_root / f"store-{fingerprint(identity)}"
        with locked(folder):
            if not (folder / "manifest.json").is_file():
                self._build_store(folder, key, with_codes)
        store = EventStore.open(folder)
        self._require_own(store, with_codes)
        return store

    def _require_own(self, store: EventStore, with_codes: bool) -> None:
        """The folder's name should say it all, but folders can be copied."""
        expected = {
            "dataset_fingerprint": self.prepared.fingerprint,
            "compressor_fingerprint": self.extraction.manifest.compressor_fingerprint
            if with_codes
            else None,
        }
        manifest = store.manifest
        found = {"dataset_fingerprint": manifest.dataset_fingerprint, **manifest.provenance}
        require_origin(store.folder / "manifest.json", expected, found)

    def _build_store(self, folder: Path, key: str, with_codes: bool) -> None:
        logging.info("Structure the event store %s by %s", folder.name, key)
        rows = self.logged_rows()
        codec = build_codec(self.keys.codec if with_codes else "none", self.keys.dim)
        codes = None
        # A store of raw events has no teacher; its format still has the column.
        logit = np.zeros(len(rows), dtype=np.float32)
        provenance: dict[str, Any] = dict.fromkeys(
            ("teacher_train_periods", "compressor_fit_periods", "quantizer_fit_periods"), []
        )
        provenance |= {"teacher_fingerprint": None, "compressor_fingerprint": None}
        if with_codes:
            log = self.extraction
            position = np.full(self.prepared.spec.rows, -1, dtype=np.int64)
            position[log.event_id] = np.arange(len(log.event_id))
            embedding = log.embedding[position[rows]]
            codec = build_codec(self.keys.codec, embedding.shape[1])
            codec.fit(calibration_embedding(log.folder))
            codes, logit = codec.encode(embedding), log.logit[position[rows]]
            provenance = extraction_provenance(log)
        build_store(
            folder,
            manifest_fields={
                "dataset_id": self.prepared.spec.dataset_id,
                "dataset_fingerprint": self.prepared.fingerprint,
                "dim": codec.dim,
                "codec": codec.to_dict(),
                "time_unit": self.prepared.spec.time_unit,
                "key": key,
                "taps": list(self.keys.taps.split("+")) if with_codes else [],
                "event_filter": self.keys.event_filter,
                "backfill": self.keys.backfill,
                "provenance": provenance
                | {"logged_periods": np.unique(self.prepared.period[rows]).tolist()},
            },
            key=self.prepared.array(key)[rows],
            timestamp=self.prepared.timestamp[rows],
            src_row=rows,
            codes=codes,
            pad_code=codec.pad_code,
            logit=logit,
            side={"label": self.prepared.label[rows].astype(np.int8)},
            num_shards=self.keys.num_shards,
        )

    def pointers(self, store: EventStore, key: str, split: str) -> Pointers:
        """(end, length) of each sample of a split under the causal rule."""
        spec = self.keys.sequence_spec(self.prepared.spec.time_unit)
        start, stop = self.view.rows(split)
        identity = {
            "store": store.manifest.fingerprint,
            "spec": spec.to_dict(),
            "rows": [start, stop],
            "control": self.keys.control,
        }
        path = self.artifact_root / "pointers" / f"{split}-{fingerprint(identity)}.h5"
        with locked(path):
            if not path.is_file():
                keys = self.prepared.array(key)[start:stop]
                if self.keys.control == "shuffled_users":
                    keys = exchanged(keys)
                times = self.prepared.timestamp[start:stop]
                build_pointers(store, keys, times, spec).save(path)
        return Pointers.load(path, store=store.manifest, spec=spec, num_samples=stop - start)


def exchanged(keys: np.ndarray) -> np.ndarray:
    """(S,) keys with the distinct keys permuted: every sample reads another key's history.

    The histories stay real and strictly earlier; only whose they are is wrong.
    """
    distinct, codes = np.unique(keys, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(distinct))
    return distinct[order][codes]
