"""Stage 3 of an experiment: the event store of its log, by one process or by many.

The shards of a store are independent of one another. They are written by this process, by several,
by a Ray cluster, or by the jobs of a scheduler that each take a share; the bytes are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuxictr_loopfm.compression.quantizer import CODECS, build_codec
from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.config.names import split_names
from fuxictr_loopfm.config.zoo import import_projects
from fuxictr_loopfm.engine import run_shards
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.atomic import fingerprint, locked
from fuxictr_loopfm.pipeline.extraction_files import calibration_embedding, extraction_provenance
from fuxictr_loopfm.pipeline.logged_events import LoggedEvents, count_events
from fuxictr_loopfm.pipeline.origin import require_origin
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.schema import MANIFEST_FILE
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.structuring.shards import (
    StorePlan,
    build_shards,
    finish_store,
    parts_folder,
)


@dataclass(frozen=True)
class StructuringTask:
    """What workers are sent: builds one shard unless it is there.

    Attributes:
        parts: folder of the unfinished store.
        source: its events.
        plan: its manifest.
        memory_limit: bytes for this worker, or None.
        zoos: of the experiment; a project among them may have registered the codec.
    """

    parts: Path
    source: LoggedEvents
    plan: StorePlan
    memory_limit: int | None
    zoos: tuple[Path, ...]

    def __call__(self, shard: int) -> None:
        """Build a shard."""
        import_projects(self.zoos)
        build_shards(self.parts, self.source, self.plan, [shard], self.memory_limit)


class StructuringPass:
    """The event store of an experiment, and the folder it fills.

    Args:
        keys: the experiment's.
        prepared: the event log.
        entity: column whose values say whose an event is, such as the user.
        extraction: folder of the complete extraction log; None for a store without embeddings.
        root: folder of the data set's artifacts.
        zoos: the experiment's, for workers.
    """

    def __init__(
        self,
        keys: LoopFMKeys,
        prepared: PreparedDataset,
        entity: str,
        extraction: Path | None,
        root: Path,
        zoos: tuple[Path, ...] = (),
    ) -> None:
        self._keys, self._prepared, self._entity = keys, prepared, entity
        self._extraction = extraction
        self._zoos = zoos
        identity = {
            "prepared": prepared.fingerprint,
            "extraction": None if extraction is None else extraction.name,
            "codec": "none" if extraction is None else keys.codec,
            "key": entity,
            "event_filter": keys.event_filter,
            "backfill": keys.stores_training,
            "num_shards": keys.num_shards,
            # Of codecs with options only: the others keep the folders they always had.
            **({} if extraction is None else CODECS.settings_by_key(keys.codec, keys.options)),
        }
        self.folder = root / f"store-{fingerprint(identity)}"

    def build(
        self, *, engine: str = "processes", workers: int = 1, memory_limit: int | None = None
    ) -> Path:
        """Build the store, or find it; finished shards of an earlier try stay.

        Args:
            engine, workers: see ``engine.run_shards``; a shard is the smallest share.
            memory_limit: bytes of all workers together; None is all there is.
        """
        with locked(self.folder):
            if not self._is_complete():
                shards = range(self._keys.num_shards)
                self._write(shards, engine, workers, memory_limit)
            # Of a finished store it removes what a killed process left of its parts.
            finish_store(self.folder, parts_folder(self.folder), self._keys.num_shards)
        return self.require_own()

    def require_own(self) -> Path:
        """The folder of the finished store. Its name should say it all, but folders can be copied.

        Raises:
            ProvenanceError: it was built from another log or another teacher's embeddings, or by
                other keys.
        """
        keys = self._keys
        compressor = None
        if self._extraction is not None:
            compressor = ExtractionLog.read_manifest(self._extraction).compressor_fingerprint
        manifest = read_manifest(self.folder)
        require_origin(
            self.folder / MANIFEST_FILE,
            {
                "dataset_fingerprint": self._prepared.fingerprint,
                "compressor_fingerprint": compressor,
                "key": self._entity,
                "codec": "none" if self._extraction is None else keys.codec,
                "event_filter": keys.event_filter,
                "backfill": keys.stores_training,
                "shards": keys.num_shards,
            },
            {
                **manifest.to_dict(),
                **manifest.provenance,
                "codec": manifest.codec["kind"],
                "shards": len(manifest.shards),
            },
        )
        return self.folder

    def build_share(
        self,
        number: int,
        count: int,
        *,
        engine: str = "processes",
        workers: int = 1,
        memory_limit: int | None = None,
    ) -> list[int]:
        """Build share ``number`` (from 1) of ``count``; whoever ends last completes the store.

        Returns:
            The shards that other shares still have to build.
        Raises:
            ConfigError: the store has fewer shards than there are shares.
        """
        num_shards = self._keys.num_shards
        if count > num_shards:
            raise ConfigError(
                f"--shard {number}/{count}: expected at most loopfm_num_shards={num_shards} "
                f"shares. Set loopfm_num_shards to {count} or a multiple of it."
            )
        if not self._is_complete():
            self._write(range(number - 1, num_shards, count), engine, workers, memory_limit)
        return finish_store(self.folder, parts_folder(self.folder), num_shards)

    def _is_complete(self) -> bool:
        return (self.folder / MANIFEST_FILE).is_file()

    def _write(
        self, shards: Sequence[int], engine: str, workers: int, memory_limit: int | None
    ) -> None:
        logging.info("Structure the event store %s by %s", self.folder.name, self._entity)
        source, plan = self._source_and_plan()
        parts = parts_folder(self.folder)
        if engine == "processes" and workers == 1:
            build_shards(parts, source, plan, shards, memory_limit)  # reads the log once for all
            return
        each = None if memory_limit is None else memory_limit // min(workers, len(shards))
        run_shards(
            StructuringTask(parts, source, plan, each, self._zoos),
            shards,
            engine=engine,
            workers=workers,
        )

    def _source_and_plan(self) -> tuple[LoggedEvents, StorePlan]:
        keys, spec = self._keys, self._prepared.spec
        codec = build_codec("none", keys.dim)
        # A store of raw events has no teacher.
        provenance: dict[str, Any] = dict.fromkeys(
            ("teacher_train_periods", "compressor_fit_periods", "quantizer_fit_periods"), []
        )
        provenance |= {"teacher_fingerprint": None, "compressor_fingerprint": None}
        trained = spec.periods.teacher_train if keys.stores_training else ()
        periods = sorted({*spec.periods.log, *trained})
        if self._extraction is not None:
            manifest = ExtractionLog.read_manifest(self._extraction)
            codec = build_codec(keys.codec, manifest.dim, keys.codec_options)
            codec.fit(calibration_embedding(self._extraction))
            provenance = extraction_provenance(manifest)
            periods = manifest.logged_periods
        source = LoggedEvents(
            self._prepared.folder,
            spec.label,
            self._entity,
            tuple(periods),
            keys.event_filter,
            self._extraction,
            codec.to_dict(),
        )
        num_events, found = count_events(source)
        if not num_events:
            raise ConfigError(
                f"{self._prepared.folder}: loopfm_event_filter: expected a filter that some "
                f"logged event passes, found {keys.event_filter!r}, which none does. Loosen it."
            )
        fields = {
            "dataset_id": spec.dataset_id,
            "dataset_fingerprint": self._prepared.fingerprint,
            "dim": codec.dim,
            "codec": codec.to_dict(),
            "time_unit": spec.time_unit,
            "key": self._entity,
            "taps": [] if self._extraction is None else list(split_names(keys.taps)),
            "event_filter": keys.event_filter,
            "backfill": keys.stores_training,
            "provenance": provenance | {"logged_periods": found},
        }
        plan = StorePlan(fields, codec.pad_code, keys.num_shards)
        return replace(source, num_events=num_events), plan
