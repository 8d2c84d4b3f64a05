"""What a worker of an extraction does: load the teacher, run it over parts, write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fuxictr_loopfm.config.zoo import import_projects
from fuxictr_loopfm.extraction.extractor import EmbeddingBatch, extract
from fuxictr_loopfm.extraction.parts import Part, consecutive, write_parts
from fuxictr_loopfm.extraction.tap import TapRecorder
from fuxictr_loopfm.host.trainer import progress
from fuxictr_loopfm.pipeline.teacher import TeacherRun
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.part_record import PartRecord

Encode = Callable[[Tensor], Tensor]


class ExtractionTask:
    """Writes the parts of a shard that are not there yet.

    It works with the teacher it was made with; a worker it is sent to loads the teacher itself.

    Args:
        run: the trained teacher.
        folder: the extraction folder.
        shards: the parts of each shard.
    """

    def __init__(self, run: TeacherRun, folder: Path, shards: Sequence[Sequence[Part]]) -> None:
        self.folder = folder
        self.shards = tuple(map(tuple, shards))
        self._run: TeacherRun | None = run
        self._made_of = (
            run.teacher,
            run.keys,
            run.prepared.folder,
            run.folder.parent,
            run.upstream,
        )

    def __call__(self, shard: int) -> None:
        """Write the missing parts of a shard."""
        run = self._run = self._run or self._loaded()
        todo = [part for part in self.shards[shard] if not finished_part(run, self.folder, part)]
        with TapRecorder(run.model, run.taps()) as recorder:
            for parts in consecutive(todo):
                log_parts(run, recorder, self.folder, parts)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_run": None}

    def _loaded(self) -> TeacherRun:
        teacher, keys, prepared, root, upstream = self._made_of
        import_projects(teacher.zoos)
        loaded = PreparedDataset.load(prepared)
        return TeacherRun(teacher, keys, loaded, root, upstream).ready()


def embed(
    run: TeacherRun, recorder: TapRecorder, period: int, *rows: int, encode: Encode | None = None
) -> Iterator[EmbeddingBatch]:
    """Results of a period, or of the rows [first, last) of it, in batches.

    Args:
        encode: activations to embeddings; the run's own if not given. Here and below.
    """
    title = f"extract period {period}"
    batches = progress(run.batches_of_period(period, *rows), run.model, title)
    return extract(run.model, recorder, encode or run.encode, batches)


def log_parts(
    run: TeacherRun,
    recorder: TapRecorder,
    folder: Path,
    parts: Sequence[Part],
    encode: Encode | None = None,
) -> None:
    """Write consecutive parts of a period from one pass over its rows."""
    first, last = parts[0], parts[-1]
    write_parts(
        folder,
        parts,
        embed(run, recorder, first.period, first.start, last.stop, encode=encode),
        batch_size=run.teacher.params["batch_size"],
        compressor=run.log_fingerprint,
    )


def finished_part(run: TeacherRun, folder: Path, part: Part) -> PartRecord | None:
    """The record of a part that is whole and was made by this teacher and compressor."""
    meta = part.meta(run.log_fingerprint)
    return ExtractionLog.finished_part(folder, part.name, meta)
