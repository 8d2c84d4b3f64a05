"""Build an event store from logged events, and the pointers of samples into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import ConfigError, DataError, ProvenanceError, StoreError
from fuxictr_loopfm.fsio import atomic_dir, write_json
from fuxictr_loopfm.spec import SequenceSpec
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.h5 import writing
from fuxictr_loopfm.store.keys import factorize_keys, shard_of_keys
from fuxictr_loopfm.store.pointers import Pointers, pointer_dtypes
from fuxictr_loopfm.store.schema import (
    CODE_DTYPES,
    MANIFEST_FILE,
    PAD_SRC_ROW,
    StoreManifest,
    provenance_problems,
)
from fuxictr_loopfm.store.shard import write_shard
from fuxictr_loopfm.structuring.as_of import history_bounds, sort_order

AnyArray = np.ndarray[Any, Any]

_DERIVED = ("code_dtype", "row_bytes", "key_dtype", "side", "shards", "fingerprint")


def build_store(
    folder: Path | str,
    *,
    manifest_fields: Mapping[str, Any],
    key: AnyArray,
    timestamp: NDArray[np.int64],
    src_row: NDArray[np.int64],
    codes: AnyArray | None,
    pad_code: AnyArray,
    logit: NDArray[np.float32],
    side: Mapping[str, AnyArray] | None = None,
    num_shards: int = 1,
) -> StoreManifest:
    """Sort events by (key, timestamp, log row) and write a store; whole or not at all.

    The same events give the same bytes in whatever order they are passed. The number of shards
    moves rows, but changes no history.

    Args:
        folder: created, or replaced as a whole.
        manifest_fields: dataset_id, dataset_fingerprint, dim, codec, time_unit, key, taps,
            event_filter, backfill, provenance; see ``StoreManifest``.
        key: (E,) integers or text.
        timestamp: (E,) integers.
        src_row: (E,) integers, each event's row in the log, all different.
        codes: (E, w) uint8, int8, float16 or float32; None stores no embedding (w = 0).
        pad_code: (w,) the row that decodes to exactly 0.
        logit: (E,) float teacher logits.
        side: further columns (E,) of integers, floats or text.
        num_shards: files, by hash of the key.

    Returns:
        The manifest as written.

    Raises:
        ConfigError: ``manifest_fields`` lacks an entry or has an unknown one.
        DataError: shapes, dtypes or values do not fit.
        ProvenanceError: the teacher trained on what it logged, without backfill.
        StoreError: the folder holds something else, or cannot be written.
    """
    if num_shards < 1:
        raise ConfigError(f"num_shards: expected 1 or more, found {num_shards}")
    columns = _row_columns(key, timestamp, src_row, codes, pad_code, logit, side or {})
    pads = {**dict.fromkeys(columns, 0), "src_row": PAD_SRC_ROW, "codes": pad_code}
    key_id, code = factorize_keys(key, str(manifest_fields.get("key", "key")))
    plain = _manifest(manifest_fields, columns, key_id, pad_code)
    order = _event_order(code, columns["timestamp"], columns["src_row"])
    _refuse_foreign(Path(folder))
    with writing(folder), atomic_dir(folder) as temporary:
        shards = []
        for index, (rows, keys) in enumerate(_shard_rows(order, code, key_id, num_shards)):
            arrays = {name: _with_pad(columns[name], rows, pads[name]) for name in columns}
            arrays["key_id"] = key_id[keys]
            counts = np.bincount(code[rows], minlength=len(key_id))[keys]
            arrays["key_ptr"] = 1 + np.r_[0, np.cumsum(counts)].astype(np.int64)
            shards.append(write_shard(temporary, index, arrays, plain))
        plain = StoreManifest(**{**plain, "shards": tuple(shards)}).to_dict()
        manifest = StoreManifest.from_dict(plain)
        write_json(temporary / MANIFEST_FILE, plain)
    return manifest


def build_pointers(
    store: EventStore,
    sample_key: AnyArray,
    sample_time: NDArray[np.int64],
    spec: SequenceSpec,
) -> Pointers:
    """Each sample's history in the store, by the causal rule.

    Args:
        store: an open store.
        sample_key: (S,) values of the store's key column.
        sample_time: (S,) integers in the store's time unit.
        spec: the rule's parameters in the same unit.

    Raises:
        DataError: keys or times have the wrong type or different lengths.
        CausalityError: the store's events are out of order.
    """
    sample_time = _int64("sample time", np.asarray(sample_time))
    sample_code = store.key_code(sample_key)
    if len(sample_code) != len(sample_time):
        raise DataError(
            f"samples: expected one time per key, found {len(sample_code)} keys and "
            f"{len(sample_time)} times."
        )
    end, length = history_bounds(
        store.row_key[1:],
        store.timestamp[1:],
        sample_code,
        sample_time,
        max_len=spec.max_len,
        delay=spec.delay,
        window=spec.window,
    )
    end_dtype, length_dtype = pointer_dtypes(store.num_events, spec.max_len)
    return Pointers(
        end=np.where(length > 0, end + 1, 0).astype(end_dtype),  # row 0 is the pad row
        length=length.astype(length_dtype),
        spec=spec,
        store_fingerprint=store.manifest.fingerprint,
    )


def _refuse_foreign(folder: Path) -> None:
    """Replacing a folder deletes what is in it, so only an event store is ever replaced."""
    ours = (folder / MANIFEST_FILE).is_file()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(
            f"{folder}: expected an event store or an empty folder, found something else. Give "
            f"another folder."
        )


def _row_columns(
    key: AnyArray,
    timestamp: AnyArray,
    src_row: AnyArray,
    codes: AnyArray | None,
    pad_code: AnyArray,
    logit: AnyArray,
    side: Mapping[str, AnyArray],
) -> dict[str, AnyArray]:
    """The row datasets by path, in their dtypes on disk and the order they came in."""
    codes = np.empty((len(key), 0), np.uint8) if codes is None else codes
    columns = {
        "codes": codes,
        "timestamp": _int64("timestamp", timestamp),
        "src_row": _int64("src_row", src_row),
        "logit": np.asarray(logit, dtype=np.float32),
        **{f"side/{name}": _side_column(name, values) for name, values in side.items()},
    }
    problems = [
        f"{name}: expected {len(key)} rows like the key, found {len(values)}"
        for name, values in columns.items()
        if len(values) != len(key) or values.ndim != (2 if name == "codes" else 1)
    ]
    if codes.dtype.name not in CODE_DTYPES:
        problems.append(f"codes: expected dtype {', '.join(CODE_DTYPES)}, found {codes.dtype}")
    if pad_code.shape != codes.shape[1:]:
        problems.append(f"pad_code: expected shape {codes.shape[1:]}, found {pad_code.shape}")
    for name in ("codes", "logit"):
        if columns[name].dtype.kind == "f" and not np.isfinite(columns[name]).all():
            problems.append(f"{name}: expected finite numbers, found NaN or infinity")
    if problems:
        raise DataError("; ".join(problems) + ". Run the extraction again.")
    return columns


def _int64(name: str, values: AnyArray) -> NDArray[np.int64]:
    if values.dtype.kind not in "iu" or values.dtype == np.uint64:
        raise DataError(f"{name}: expected int64, found {values.dtype}. Convert the column.")
    return values.astype(np.int64, copy=False)


def _side_column(name: str, values: AnyArray) -> AnyArray:
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iuf":
        return values
    keys, codes = factorize_keys(values, f"side column {name}")
    return keys[codes]


def _manifest(
    manifest_fields: Mapping[str, Any],
    columns: Mapping[str, AnyArray],
    key_id: AnyArray,
    pad_code: AnyArray,
) -> dict[str, Any]:
    """The manifest's entries without its shards, checked."""
    known = {entry.name for entry in fields(StoreManifest)} - {"schema", "version", *_DERIVED}
    problems = [f"{name}: missing" for name in sorted(known - set(manifest_fields))]
    problems += [f"{name}: unknown entry" for name in sorted(set(manifest_fields) - known)]
    if problems:
        raise ConfigError([f"manifest_fields: {problem}" for problem in problems])
    codes = columns["codes"]
    codec = {"pad_code": pad_code.tolist(), **manifest_fields["codec"]}
    if not np.array_equal(np.broadcast_to(codec["pad_code"], pad_code.shape), pad_code):
        raise DataError(
            f"codec.pad_code: expected the pad row {pad_code.tolist()}, found {codec['pad_code']}."
        )
    manifest = StoreManifest(
        **{**manifest_fields, "codec": codec},
        code_dtype=codes.dtype.name,
        row_bytes=codes.shape[1] * codes.dtype.itemsize,
        key_dtype="bytes" if key_id.dtype.kind == "S" else "int64",
        side={
            name.removeprefix("side/"): values.dtype.str
            for name, values in columns.items()
            if name.startswith("side/")
        },
    )
    seen = provenance_problems(manifest)
    if seen:
        raise ProvenanceError("; ".join(seen))
    return {entry.name: getattr(manifest, entry.name) for entry in fields(StoreManifest)}


def _event_order(
    code: NDArray[np.int64], timestamp: NDArray[np.int64], src_row: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rows sorted by (key, timestamp, row of the log)."""
    if (src_row[1:] > src_row[:-1]).all():
        return sort_order(code, timestamp)
    by_row = np.argsort(src_row, kind="stable")
    repeated = np.flatnonzero(np.diff(src_row[by_row]) == 0)
    if len(repeated):
        raise DataError(
            f"src_row: expected every event once, found row {src_row[by_row[repeated[0]]]} of the "
            f"log twice. Run the extraction again."
        )
    return by_row[sort_order(code[by_row], timestamp[by_row])]


def _shard_rows(
    order: NDArray[np.int64], code: NDArray[np.int64], key_id: AnyArray, num_shards: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Sorted input rows and key codes of each shard."""
    shard = shard_of_keys(key_id, num_shards)
    shard_of_row = shard[code[order]]
    for index in range(num_shards):
        yield order[shard_of_row == index], np.flatnonzero(shard == index)


def _with_pad(values: AnyArray, rows: NDArray[np.int64], pad: Any) -> AnyArray:
    """Pad row 0, then the chosen rows."""
    padded = np.empty((len(rows) + 1, *values.shape[1:]), values.dtype)
    padded[0] = b"" if values.dtype.kind == "S" else pad
    np.take(values, rows, axis=0, out=padded[1:], mode="clip")
    return padded
