"""The stages of a rehearsal; each runs in a process of its own and leaves its facts as JSON.

``python -m tests.rehearsal.stages STAGE --work FOLDER``, in the order of ``STAGES``.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rehearsal.measured import folder_bytes

Facts = dict[str, Any]
DATASET_ID = "TaobaoAd_s1"
# A whole epoch would take longer than all other stages together and show nothing more.
TEACHER_SAMPLES = 4_000_000
_WITHOUT_MODELS = ("generate", "encode")


@dataclass(frozen=True)
class Options:
    """What a stage is told.

    Attributes:
        work: folder of all files of the rehearsal.
        scale, thin, seed: of the generated log, see ``raw_log``.
        vm_batches: batches of the vertical model's epoch that are timed.
    """

    work: Path
    scale: float
    thin: float
    seed: int
    vm_batches: int


def generate(options: Options) -> Facts:
    """The raw files."""
    from tests.rehearsal.raw_log import Size, write_raw

    size = Size.scaled(options.scale, options.thin)
    write_raw(options.work / "raw", size, options.seed)
    return {"rows": size.impressions + size.behaviours, "unit": "raw row"}


def encode(options: Options) -> Facts:
    """Both views in FuxiCTR ids."""
    from fuxictr_loopfm.data.encode import build_view
    from tests.rehearsal.rehearsal_configs import LOOPFM_EXPID, write_configs

    write_configs(options.work)
    workspace = _workspace(options, LOOPFM_EXPID)
    teacher = workspace.experiment.load_teacher()
    view = build_view(workspace.prepared, teacher.params, "teacher")
    rows = 2 * view.num_events
    return {
        "rows": rows,
        "unit": "event and view",
        "bytes_per_row": (folder_bytes(view.folder) + folder_bytes(workspace.view.folder)) / rows,
    }


def teacher(options: Options) -> Facts:
    """The newest ``TEACHER_SAMPLES`` of the teacher's epoch, its autoencoder beside it."""
    from fuxictr_loopfm.host.model import count_parameters
    from fuxictr_loopfm.pipeline.teacher import TeacherRun
    from tests.rehearsal.rehearsal_configs import LOOPFM_EXPID

    class Shortened(TeacherRun):
        def loader(self, split: str, rows: slice | None = None, **kwargs: Any) -> Any:
            if split == "train" and rows is None:
                known = self.view.rows(split)
                count = known.stop - known.start
                rows = slice(max(count - TEACHER_SAMPLES, 0), count)
            return super().loader(split, rows, **kwargs)

    workspace = _workspace(options, LOOPFM_EXPID)
    run = Shortened(
        workspace.experiment.load_teacher(),
        workspace.keys,
        workspace.prepared,
        workspace.artifact_root,
    ).ready()
    rows = run.view.rows("train")
    count = rows.stop - rows.start
    return {
        "rows": min(count, TEACHER_SAMPLES),
        "unit": "sample",
        "note": f"of {count:,} in the epoch, {count_parameters(run.model):,} parameters",
    }


def extract(options: Options) -> Facts:
    """One inference pass over the logged periods."""
    from tests.rehearsal.rehearsal_configs import LOOPFM_EXPID

    log = _workspace(options, LOOPFM_EXPID).extraction
    rows = len(log.event_id)
    return {
        "rows": rows, "unit": "logged event", "bytes_per_row": folder_bytes(log.folder) / rows
    }  # fmt: skip


def structure(options: Options) -> Facts:
    """The event store."""
    from tests.rehearsal.rehearsal_configs import LOOPFM_EXPID

    workspace = _workspace(options, LOOPFM_EXPID)
    store = workspace.store(workspace.prepared.spec.user)
    return {
        "rows": store.num_events,
        "unit": "logged event",
        "bytes_per_row": folder_bytes(store.folder) / store.num_events,
        "note": f"{store.manifest.row_bytes} B of them codes, {len(store.key_id):,} keys",
    }


def pointers(options: Options) -> Facts:
    """Where each sample's history lies in the store."""
    from tests.rehearsal.rehearsal_configs import LOOPFM_EXPID

    workspace = _workspace(options, LOOPFM_EXPID)
    key = workspace.prepared.spec.user
    store = workspace.store(key)
    found = [workspace.pointers(store, key, split) for split in ("train", "test")]
    rows = sum(len(part.end) for part in found)
    mean = sum(int(part.length.sum()) for part in found) / rows
    return {
        "rows": rows,
        "unit": "sample",
        "bytes_per_row": folder_bytes(workspace.artifact_root / "pointers") / rows,
        "note": f"{mean:.1f} events in a history on average",
    }


def vertical(options: Options) -> Facts:
    """Part of the vertical model's epoch: without a teacher, then with KD and histories."""
    from tests.rehearsal.rehearsal_configs import BASE_EXPID, LOOPFM_EXPID

    base = _train_part(options, BASE_EXPID)
    facts = _train_part(options, LOOPFM_EXPID)
    return facts | {"base": base, "note": f"KD+LoopFM: {facts['note']}; base: {base['note']}"}


STAGES: dict[str, Callable[[Options], Facts]] = {
    stage.__name__: stage
    for stage in (*(generate, encode, teacher, extract, structure, pointers, vertical),)
}


class _First:
    """The first batches of a loader."""

    def __init__(self, loader: Any, count: int) -> None:
        self._loader, self._count = loader, min(count, len(loader))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self._loader), self._count)


def _workspace(options: Options, expid: str) -> Any:
    from fuxictr_loopfm.config.checkout import Checkout
    from fuxictr_loopfm.config.experiment import Experiment
    from fuxictr_loopfm.pipeline.workspace import Workspace

    folder, zoo = options.work / "configs", Checkout.find().zoo
    experiment = Experiment.load(folder, expid, base_dir=options.work, zoo=zoo)
    return Workspace(experiment, experiment.load_teacher())


def _train_part(options: Options, expid: str) -> Facts:
    from fuxictr_loopfm.distillation.distiller import Distiller
    from fuxictr_loopfm.host.model import count_parameters, feature_map_of, new_model
    from fuxictr_loopfm.host.trainer import train_epochs
    from fuxictr_loopfm.pipeline.histories import Histories
    from fuxictr_loopfm.runs.vertical import Run, loaders

    workspace = _workspace(options, expid)
    run = Run(workspace.experiment, workspace)
    histories = Histories(workspace)
    feature_map = feature_map_of(
        run.experiment, workspace.view, histories.fields, with_teacher_logit=run.keys.reads_loss
    )
    files = ("train", "test")
    made = loaders(run, feature_map, {file: histories.sources(file) for file in files})
    model = new_model(run.experiment, feature_map, histories.fields)
    part = _First(made["train"], options.vm_batches)
    if run.keys.reads_loss:
        Distiller(model, run.keys.distillation, next(iter(part)))
    samples = min(len(part) * made["train"].batch_size, made["train"].num_samples)
    loading = _seconds(lambda: [None for _ in part])
    cpu = time.process_time()
    training = _seconds(lambda: train_epochs(model, part, epochs=1))
    return {
        "rows": samples,
        "unit": "sample",
        "seconds": training,
        "cpu_seconds": time.process_time() - cpu,
        "note": (
            f"{len(part)} of {len(made['train'])} batches, {count_parameters(model):,} parameters, "
            f"{samples / training:,.0f} samples/s, loader alone {samples / loading:,.0f}"
        ),
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Run one stage and write ``facts/STAGE.json``; loading the libraries is not timed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--thin", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--vm-batches", type=int, required=True)
    values = vars(parser.parse_args())
    name = values.pop("stage")
    options = Options(**values)
    if name != "generate":
        importlib.import_module("fuxictr_loopfm.runs.vertical")
    if name not in _WITHOUT_MODELS:
        importlib.import_module("torch._dynamo")  # what torch's optimizers load
    cpu = time.process_time()
    facts: Facts = {}
    seconds = _seconds(lambda: facts.update(STAGES[name](options)))
    facts = {"seconds": seconds, "cpu_seconds": time.process_time() - cpu, **facts}
    path = options.work / "facts" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
