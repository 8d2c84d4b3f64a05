"""One whole loop of artifacts, and for each kind what training reads of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.data.artifact import reusable_manifest
from fuxictr_loopfm.data.encode import EncodedView, build_view
from fuxictr_loopfm.pipeline.extraction_files import calibration_embedding
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.records.record import read_records, write_record
from fuxictr_loopfm.runs.vertical import run_vertical
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.extraction_reader import ExtractionReader
from fuxictr_loopfm.structuring.pointing import pointers_of_events
from fuxictr_loopfm.structuring.shards import finished_shard
from fuxictr_loopfm.structuring.shards import parts_folder as parts_folder
from tests.integration.planted import load, write_configs, write_log
from tests.torture.specimens import (
    digest,
    files_of,
    read_extraction,
    read_log,
    read_store,
    read_view,
)

REBUILT = "rebuilt"
# Encoding takes long: every so many times that a view would be encoded again, it is.
ENCODE_EVERY = 25
EXPID = "kd_loopfm_label"
KEYS = {"loopfm_num_shards": 2, "loopfm_codec": "int4_kmeans", "epochs": 1}


@dataclass(frozen=True)
class Target:
    """A kind of artifact.

    Attributes:
        files: what is damaged.
        read: what training reads, as a digest; ``REBUILT`` if it would make the artifact again.
        verify: what ``loopfm verify`` is given; None where it names the artifact as unfinished.
    """

    files: tuple[Path, ...]
    read: Callable[[], str]
    verify: Path | None


class DamagedLoop:
    """The artifacts of one experiment with two shards.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        write_log(root / "data" / "prepared")
        self.config = write_configs(root / "configs", root, root / "data" / "prepared")
        experiment, workspace = self.load()
        record = run_vertical(experiment, workspace, model_name="DeepFM", command="test")[0]
        self.record = write_record(root / "data" / "records", record)
        self.workspace = workspace
        self.key = workspace.keys.key or workspace.prepared.spec.user
        self.store_folder = workspace.structuring(self.key).folder
        self.extraction = workspace.extraction_pass
        self.run = self.extraction.run.ready()
        self.artifacts = workspace.artifact_root
        self.unfinished = self._unfinished_extraction()
        self.parts = self._unfinished_store()
        self._outdated_views = 0

    def load(self, **changes: Any) -> Any:
        """A new experiment and workspace, as another process would make them."""
        return load(self.config, EXPID, **{**KEYS, **changes})

    def _unfinished_extraction(self) -> ExtractionPass:
        """A copy of the log as a killed process leaves it."""
        copied = self.root / "unfinished" / self.extraction.folder.name
        shutil.copytree(self.extraction.folder, copied)
        (copied / "manifest.json").unlink()
        unfinished = self.workspace.extraction_pass
        unfinished.folder = copied
        return unfinished

    def _unfinished_store(self) -> Path:
        structuring = self.workspace.structuring(self.key)
        finished, structuring.folder = structuring.folder, self.root / "unfinished" / "store-x"
        structuring._write(range(2), "processes", 1, None)
        assert finished == self.store_folder
        return parts_folder(structuring.folder)

    def targets(self) -> dict[str, Target]:
        """Every kind of artifact."""
        view, teacher_view = self.workspace.view, self.run.view
        pointers = sorted((self.artifacts / "pointers").glob("[!.]*"))
        return {
            "prepared data set": self._folder(self.workspace.prepared.folder, self.read_prepared),
            "encoded view": self._folder(view.folder, lambda: self.read_view(view)),
            "teacher's view": self._folder(
                teacher_view.folder, lambda: self.read_view(teacher_view)
            ),
            "teacher": self._folder(self.run.folder, self.read_teacher),
            "extraction log": self._folder(self.extraction.folder, self.read_extraction),
            "unfinished extraction": Target(
                files_of(self.unfinished.folder), self.read_unfinished, None
            ),
            "event store": self._folder(self.store_folder, self.read_store),
            "unfinished store": Target(files_of(self.parts), self.read_parts, None),
            "pointers": Target(tuple(pointers), self.read_pointers, self.artifacts / "pointers"),
            "run record": Target((self.record,), self.read_record, self.record),
        }

    def _folder(self, folder: Path, read: Callable[[], str]) -> Target:
        return Target(files_of(folder), read, folder)

    def read_prepared(self) -> str:
        """All columns and sequences."""
        return read_log(self.workspace.prepared.folder)

    def read_view(self, view: EncodedView) -> str:
        """What ``build_view`` would reuse, or that it would encode again."""
        if reusable_manifest(view.folder, view.fingerprint) is None:
            self._outdated_views += 1
            if self._outdated_views % ENCODE_EVERY:
                return REBUILT
            is_teacher = view.folder == self.run.view.folder
            params = self.run.teacher.params if is_teacher else self.workspace.params
            build_view(self.workspace.prepared, params, view.view)
        return read_view(view.folder)

    def read_teacher(self) -> str:
        """Weights of teacher and compressor."""
        self.run.ready()
        assert self.run.compressor is not None
        states = (self.run.model.state_dict(), self.run.compressor.state_dict())
        return digest(*(value.numpy() for state in states for value in state.values()))

    def read_extraction(self) -> str:
        """The log as training and as structuring read it, and what the codec is fitted on."""
        manifest, folder = self.extraction.require_own(), self.extraction.folder
        with ExtractionReader(folder) as reader:
            rows = reader.take(ExtractionLog.open(folder).event_id)
        return read_extraction(folder, str(manifest), *rows, calibration_embedding(folder))

    def read_unfinished(self) -> str:
        """The parts that would be kept when the log is gone on with."""
        found = [ExtractionLog.finished_part(self.unfinished.folder, *self._part(part))
                 for part in self.unfinished.parts]  # fmt: skip
        kept = [*found, self.unfinished._calibration()]
        return REBUILT if None in kept else digest(str(kept))

    def _part(self, part: Any) -> tuple[str, dict[str, Any]]:
        return part.name, part.meta(self.run.compressor_fingerprint)

    def read_store(self) -> str:
        """The store, and pointers that are made of it."""
        folder = self.workspace.structuring(self.key).require_own()
        rows = self.workspace.view.rows("train")
        spec = self.workspace.keys.sequence_spec(self.workspace.prepared.spec.time_unit)
        made = pointers_of_events(folder, rows, spec)
        assert made is not None
        return read_store(folder, made.end, made.length)

    def read_parts(self) -> str:
        """The shards that would be kept when the store is gone on with."""
        found = [finished_shard(self.parts, index) for index in range(2)]
        return REBUILT if None in found else digest(str(found))

    def read_pointers(self) -> str:
        """Those of both splits."""
        store = EventStore.open(self.store_folder)
        made = [self.workspace.pointers(store, self.key, split) for split in ("train", "test")]
        return digest(*(values for each in made for values in (each.end, each.length)))

    def read_record(self) -> str:
        """The run record."""
        return digest(str(read_records([self.record])))

    def another(self, **changes: Any) -> Workspace:
        """The artifacts of the same log by other keys, built."""
        workspace: Workspace = self.load(**changes)[1]
        store = workspace.store(self.key)
        for split in ("train", "test"):
            workspace.pointers(store, self.key, split)
        return workspace
