"""Each kind of archived artifact, opened by today's reader and compared with what it must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.compression.quantizer import codec_from_dict
from fuxictr_loopfm.data.encode import EncodedView
from fuxictr_loopfm.extraction.tap import TapRecorder
from fuxictr_loopfm.pipeline.extraction_files import calibration_embedding
from fuxictr_loopfm.pipeline.extraction_task import embed
from fuxictr_loopfm.pipeline.teacher import TeacherRun
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import read_records
from fuxictr_loopfm.runs.vertical import run_vertical
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.store.pointers import Pointers
from fuxictr_loopfm.structuring.verify import verify_store
from tests.archives import tiny
from tests.archives.contents import digest
from tests.archives.write import KEYS, experiment

Expected = dict[str, Any]
# Problems, a line each; a reader that refuses raises.
Check = Callable[[Path, Expected], Iterator[str]]
DELAYS = {"int_keys": 90}
# Another processor may sum in another order.
CLOSE = 1e-4


def artifacts(folder: Path) -> Path:
    """Where an archive keeps teacher, log, stores and pointers."""
    return folder / "data" / "artifacts" / "Tiny_s1"


def check_prepared(folder: Path, expected: Expected) -> Iterator[str]:
    """Every value of the log, and the ready-made histories."""
    prepared = PreparedDataset.load(folder / "prepared")
    prepared.verify()
    rows = tiny.read_csv(folder / tiny.LOG_FILE)
    if prepared.spec.rows != expected["rows"]:
        yield f"rows: {prepared.spec.rows}"
    frame = prepared.frame()
    for name in rows[0]:
        wanted = [row[name] for row in rows]
        if name == "price":
            wanted = np.array(wanted, np.float32).tolist()
        if frame[name].tolist() != wanted:
            yield f"prepared: {name}"
    values, end, length = prepared.sequence("item_his")
    found = [
        [token.decode() for token in values[int(stop) - int(count) : int(stop)]]
        for stop, count in zip(end, length, strict=True)
    ]
    if found != expected["item_histories"]:
        yield "prepared: item_his"


def check_views(folder: Path, expected: Expected) -> Iterator[str]:
    """Every encoded column, and tokens of histories by the ids of the items themselves."""
    rows = tiny.read_csv(folder / tiny.LOG_FILE)
    for name, splits in expected["views"].items():
        view = EncodedView.open(folder / "data" / name)
        view.verify()
        for split, columns in splits.items():
            events = view.rows(split)
            for column, wanted in columns.items():
                if digest(view.column(column)[events]) != wanted:
                    yield f"{name}/{split}: {column}"
        ids = {row["item_id"]: code for row, code in zip(rows, view.column("item_id"), strict=True)}
        sequence = view.sequence("item_his")
        for event, items in enumerate(expected["item_histories"]):
            stop = int(sequence.end[event])
            found = sequence.codes[stop - int(sequence.length[event]) : stop].tolist()
            if found != [ids[item] for item in items]:
                yield f"{name}: item_his of event {event}: {found}"


def check_extraction(folder: Path, expected: Expected) -> Iterator[str]:
    """Embeddings and logits of the logged events, and what codecs are fitted on."""
    wanted = expected["extraction"]
    log = ExtractionLog.open(artifacts(folder) / wanted["folder"])
    if log.event_id.tolist() != list(range(60, 60 + wanted["rows"])):
        yield "extraction: event_id"
    for name, values in (("embedding", log.embedding), ("logit", log.logit)):
        if digest(values) != wanted[name]:
            yield f"extraction: {name}"
    if digest(calibration_embedding(log.folder)) != expected["calibration"]:
        yield "extraction: calibration"


def check_teacher(folder: Path, expected: Expected) -> Iterator[str]:
    """Its weights, and that teacher and compressor say what they said when they logged."""
    asked = experiment(folder, "int8")
    teacher = asked.load_teacher()
    assert teacher is not None
    prepared = PreparedDataset.load(folder / "prepared")
    run = TeacherRun(teacher, asked.keys, prepared, artifacts(folder))
    if run.folder.name != expected["teacher"]["folder"]:
        yield f"teacher: today's is kept in {run.folder.name}: it would be trained again"
        return
    run.ready()
    for name, value in run.model.state_dict().items():
        if digest(value.numpy()) != expected["teacher"]["weights"][name]:
            yield f"teacher: {name}"
    log = ExtractionLog.open(artifacts(folder) / expected["extraction"]["folder"])
    with TapRecorder(run.model, run.taps()) as recorder:
        parts = [part for period in (2, 3, 4) for part in embed(run, recorder, period)]
    for name, logged in (("embedding", log.embedding), ("logit", log.logit)):
        found = np.concatenate([getattr(part, name) for part in parts])
        if not np.allclose(found, logged, atol=CLOSE):
            yield f"teacher: another {name} than it logged"


def check_stores(folder: Path, expected: Expected) -> Iterator[str]:
    """Rows, keys and decoded embeddings, and the audit against the log."""
    rows = tiny.read_csv(folder / tiny.LOG_FILE)
    for name, store_folder in expected["stores"].items():
        store = EventStore.open(artifacts(folder) / store_folder)
        decoded = codec_from_dict(store.manifest.codec).decode(store.codes[1:])
        if digest(decoded) != expected["decoded"][name]["sha256"]:
            yield f"store {name}: other embeddings"
        if store.num_events != expected["decoded"][name]["rows"]:
            yield f"store {name}: {store.num_events} events"
        for row in range(1, store.num_events + 1):
            event = rows[store.event_id[row]]
            key = store.key_id[store.row_key[row]]
            own = key.decode() if isinstance(key, bytes) else int(key)
            found = (own, int(store.timestamp[row]), int(store.side["label"][row]))
            if found != (event[KEYS[name]], event["timestamp"], event["click"]):
                yield f"store {name}: row {row}: {found}"
        problems = verify_store(store.folder, PreparedDataset.load(folder / "prepared"))
        yield from (f"store {name}: {problem}" for problem in problems)


def check_pointers(folder: Path, expected: Expected) -> Iterator[str]:
    """Histories of the training and the test samples, by the rows of the log they name."""
    prepared = PreparedDataset.load(folder / "prepared")
    for name, store_folder in expected["stores"].items():
        store = EventStore.open(artifacts(folder) / store_folder)
        spec = SequenceSpec(max_len=tiny.MAX_LEN, delay=DELAYS.get(name, 0))
        wanted = expected["histories"][KEYS[name]]
        for split, periods in (("train", (2, 3)), ("test", (4,))):
            rows = prepared.rows_of(periods)
            path = pointer_file(folder, split, store.manifest.fingerprint)
            found = Pointers.load(
                path, store=store.manifest, spec=spec, num_samples=rows.stop - rows.start
            )
            if histories(store, found) != wanted[rows]:
                yield f"pointers of {name}, {split}"


def pointer_file(folder: Path, split: str, store: str) -> Path:
    """The pointers of a split into the store with a fingerprint."""
    found = []
    for path in sorted((artifacts(folder) / "pointers").glob(f"{split}-*.h5")):
        with h5py.File(path, "r") as file:
            if bytes(file.attrs["store"]).decode() == store:
                found.append(path)
    (path,) = found
    return path


def histories(store: EventStore, pointers: Pointers) -> list[list[int]]:
    """Rows of the log in each sample's history, oldest first."""

    def history(end: int, length: int) -> NDArray[np.int64]:
        return store.event_id[end - length : end]

    pairs = zip(pointers.end.tolist(), pointers.length.tolist(), strict=True)
    return [history(end, length).tolist() for end, length in pairs]


def check_records(folder: Path, expected: Expected) -> Iterator[str]:
    """A record by itself, and packed ones."""
    records = read_records([folder / "records"])
    found = {record.expid: record.metrics for record in records}
    if found != expected["metrics"]:
        yield f"records: {found}"


def check_run(folder: Path, expected: Expected) -> Iterator[str]:
    """A run of today goes on from all of them and builds no teacher, log or store."""
    before = {path.name for path in artifacts(folder).iterdir() if path.suffix != ".lock"}
    for expid in ("int8", "int_keys"):
        asked = experiment(folder, expid)
        workspace = Workspace(asked, asked.load_teacher())
        record, _, _ = run_vertical(asked, workspace, model_name="DeepFM", command="archives")
        # What was gAUC then has another name where histories have labels.
        found = {**record.metrics, "gAUC": record.metrics.get("gAUC_live", record.metrics["gAUC"])}
        for name, value in expected["metrics"][expid].items():
            if abs(found[name] - value) > CLOSE:
                yield f"run {expid}: {name}: {found[name]} for {value}"
    built = {path.name for path in artifacts(folder).iterdir() if path.suffix != ".lock"} - before
    if built:
        yield f"run: built again: {sorted(built)}"


CHECKS: dict[str, Check] = {
    "prepared data set": check_prepared,
    "encoded views": check_views,
    "extraction log": check_extraction,
    "teacher and compressor": check_teacher,
    "event stores": check_stores,
    "pointers": check_pointers,
    "records": check_records,
    "a run on all of them": check_run,
}
