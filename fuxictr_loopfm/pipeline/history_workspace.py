"""What histories are made of, for vertical models and teachers alike: stores and pointers.

Who reads a history says whose samples they are (a view and its splits) and where the teacher's log
is that the embeddings come from; everything after that is the same for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.data.encode import EncodedView
from fuxictr_loopfm.files.atomic import fingerprint, locked
from fuxictr_loopfm.pipeline.structuring_pass import StructuringPass
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.part_record import record_path
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.store.schema import StoreManifest
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.structuring.builder import build_pointers
from fuxictr_loopfm.structuring.pointing import SHUFFLED, exchanged, pointers_of_events


class HistoryWorkspace(ABC):
    """The stores and pointers of one experiment, each built on first use.

    Args:
        experiment: the vertical model's or the teacher's.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.keys: LoopFMKeys = experiment.keys
        self.params: dict[str, Any] = experiment.params

    @property
    @abstractmethod
    def prepared(self) -> PreparedDataset:
        """The event log."""

    @property
    @abstractmethod
    def view(self) -> EncodedView:
        """This experiment's feature columns in FuxiCTR ids."""

    @property
    @abstractmethod
    def artifact_root(self) -> Path:
        """Folder of the artifacts of this data set."""

    @property
    def current_values(self) -> np.ndarray | None:
        """(N, d) what ``loopfm_current`` reads, by event_id; None where it reads nothing."""
        return None

    @abstractmethod
    def logged(self) -> Path:
        """Folder of the complete extraction log that a history's embeddings come from."""

    def structuring(self, entity: str) -> StructuringPass:
        """What builds the store of an entity; with codes only if the history reads embeddings.

        Args:
            entity: column whose values say whose an event is, such as the user. Here and below.
        """
        extraction = self.logged() if self.keys.reads_embeddings else None
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
            "control": SHUFFLED if self._is_shuffled else self.keys.control,
        }
        path = self.artifact_root / "pointers" / f"{split}-{fingerprint(identity)}.h5"
        with locked(path):
            # Pointers of earlier releases do not say whose they are; they are made again.
            if not (path.is_file() and record_path(path).is_file()):
                self._point(folder, entity, rows, spec).save(path, identity)
        count = rows.stop - rows.start
        return Pointers.load(path, store=manifest, spec=spec, num_samples=count, samples=identity)

    def _point(self, folder: Path, entity: str, rows: slice, spec: SequenceSpec) -> Pointers:
        pointers = pointers_of_events(folder, rows, spec)
        if pointers is not None and not self._is_shuffled:
            return pointers
        entities = self.prepared.array(entity)[rows]
        if pointers is None:
            times = self.prepared.timestamp[rows]
            pointers = build_pointers(EventStore.open(folder), entities, times, spec)
        return exchanged(pointers, entities) if self._is_shuffled else pointers

    @property
    def _is_shuffled(self) -> bool:
        return self.keys.control == "shuffled_users"
