"""Audits a store: are its events those of the log it was built from, in the order of the format?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.keys import factorize_keys, shard_of_keys
from fuxictr_loopfm.store.schema import (
    EVENT_ID_DATASET,
    PAD_EVENT_ID,
    StoreManifest,
    provenance_problems,
)
from fuxictr_loopfm.store.shard import checksum_problems, read_manifest

if TYPE_CHECKING:
    from fuxictr_loopfm.prepared.dataset import PreparedDataset

AnyArray = np.ndarray[Any, Any]


def verify_store(folder: Path | str, prepared: PreparedDataset) -> list[str]:
    """Everything that is wrong with a store; empty if nothing is.

    Args:
        folder: the event store.
        prepared: the data set it claims to come from.

    Returns:
        Messages naming shard, dataset or row, expected and found.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder)
        problems = checksum_problems(folder, manifest)
        problems += [f"{folder}: {problem}" for problem in provenance_problems(manifest)]
        problems += _origin_problems(folder, manifest, prepared)
        if problems:
            return problems
        store = EventStore.open(folder)
        problems = _layout_problems(store)
        return problems or _log_problems(store, prepared)
    except LoopFMError as error:
        return [str(error)]


def _origin_problems(folder: Path, manifest: StoreManifest, prepared: PreparedDataset) -> list[str]:
    """Is this the data set, and was everything fitted without its test periods?"""
    expected = {
        "dataset_id": (prepared.spec.dataset_id, manifest.dataset_id),
        "dataset_fingerprint": (prepared.fingerprint, manifest.dataset_fingerprint),
        "time_unit": (prepared.spec.time_unit, manifest.time_unit),
    }
    problems = [
        f"{folder}: {name}: expected {wanted}, found {found}."
        for name, (wanted, found) in expected.items()
        if wanted != found
    ]
    test = set(prepared.spec.periods.test)
    for name in ("teacher_train_periods", "compressor_fit_periods", "quantizer_fit_periods"):
        seen = sorted(test.intersection(manifest.provenance[name]))
        if seen:
            problems.append(
                f"{folder}: provenance.{name}: expected no test period, found {seen}. Fit on "
                f"earlier periods and rebuild the store."
            )
    return problems


def _layout_problems(store: EventStore) -> list[str]:
    """Pad row, order of rows, order and placement of keys."""
    folder, manifest = store.folder, store.manifest
    pad_code = np.broadcast_to(manifest.codec["pad_code"], store.codes.shape[1:])
    pad_row = {
        "codes": (store.codes[0].tolist(), pad_code.tolist()),
        "timestamp": (int(store.timestamp[0]), 0),
        EVENT_ID_DATASET: (int(store.event_id[0]), PAD_EVENT_ID),
        "logit": (float(store.logit[0]), 0.0),
        **{
            f"side/{name}": (values[0].item(), b"" if values.dtype.kind == "S" else 0)
            for name, values in store.side.items()
        },
    }
    problems = [
        f"{folder / manifest.shards[0].file}: {name}: pad row: expected {wanted}, found {found}."
        for name, (found, wanted) in pad_row.items()
        if found != wanted
    ]
    key, time, row = store.row_key[1:], store.timestamp[1:], store.event_id[1:]
    later = (time[1:] > time[:-1]) | ((time[1:] == time[:-1]) & (row[1:] > row[:-1]))
    problems += _first(
        store,
        np.r_[False, (key[1:] == key[:-1]) & ~later],
        "order",
        "rows sorted by (key, timestamp, event_id)",
        "an earlier event after a later one",
    )
    first = 0
    for index, shard in enumerate(manifest.shards):
        keys = store.key_id[first : first + shard.keys]
        placed = (shard_of_keys(keys, len(manifest.shards)) == index).all()
        if not placed or (keys[1:] <= keys[:-1]).any():
            problems.append(
                f"{folder / shard.file}: key_id: expected distinct ascending keys of this shard's "
                f"hash, found others."
            )
        first += shard.keys
    return problems


def _log_problems(store: EventStore, prepared: PreparedDataset) -> list[str]:
    """Are the stored events the logged events?"""
    manifest, row = store.manifest, store.event_id[1:]
    num_log_rows = len(prepared.timestamp)
    outside = (row < 0) | (row >= num_log_rows)
    if outside.any():
        return _first(
            store, outside, EVENT_ID_DATASET, f"rows of the log, 0 to {num_log_rows - 1}", row
        )
    log_key_id, log_key = factorize_keys(prepared.array(manifest.key), manifest.key)
    if len(row) and log_key_id.dtype.kind != store.key_id.dtype.kind:
        return [
            f"{store.folder}: key {manifest.key}: expected {log_key_id.dtype} as in the log, found "
            f"{store.key_id.dtype}."
        ]
    columns = [
        ("key", store.key_id[store.row_key[1:]], log_key_id[log_key[row]]),
        ("timestamp", store.timestamp[1:], prepared.timestamp[row]),
    ]
    if "label" in store.side:
        columns.append(("side/label", store.side["label"][1:], prepared.label[row]))
    problems = []
    for name, found, wanted in columns:
        problems += _first(store, found != wanted, name, wanted, found)
    logged = np.array(manifest.provenance["logged_periods"], np.int64)
    period = prepared.period[row]
    problems += _first(
        store, ~np.isin(period, logged), "period", f"a logged period {logged.tolist()}", period
    )
    counts = np.bincount(row, minlength=num_log_rows)
    if (counts > 1).any():
        problems.append(
            f"{store.folder}: {EVENT_ID_DATASET}: expected every event once, found row "
            f"{int(np.argmax(counts > 1))} of the log {int(counts.max())} times."
        )
    missing = np.isin(prepared.period, logged) & (counts == 0)
    if manifest.event_filter is None and missing.any():
        problems.append(
            f"{store.folder}: {EVENT_ID_DATASET}: expected every event of periods "
            f"{logged.tolist()}, found {int(missing.sum())} missing, the first at "
            f"row {int(np.argmax(missing))} of the log."
        )
    return problems


def _first(
    store: EventStore,
    wrong: NDArray[np.bool_],
    name: str,
    expected: AnyArray | str,
    found: AnyArray | str,
) -> list[str]:
    """A message about the first of the wrong events; arrays are read at its position."""
    if not wrong.any():
        return []
    position = int(np.argmax(wrong))
    shown = [each if isinstance(each, str) else each[position] for each in (expected, found)]
    return [
        f"{store.locate(position + 1)} (row {store.event_id[position + 1]} of the log): {name}: "
        f"expected {shown[0]}, found {shown[1]}; {int(wrong.sum())} rows are wrong."
    ]
