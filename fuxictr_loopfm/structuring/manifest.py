"""The entries of a store's manifest that are known before its shards are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from fuxictr_loopfm.errors import ConfigError, DataError, ProvenanceError
from fuxictr_loopfm.store.schema import StoreManifest, provenance_problems
from fuxictr_loopfm.structuring.blocks import AnyArray

_DERIVED = ("code_dtype", "row_bytes", "key_dtype", "side", "shards", "fingerprint")


def manifest_entries(
    manifest_fields: Mapping[str, Any],
    rows: Mapping[str, AnyArray],
    key_id: AnyArray,
    pad_code: AnyArray,
) -> dict[str, Any]:
    """The manifest's entries without its shards, checked.

    Args:
        manifest_fields: dataset_id, dataset_fingerprint, dim, codec, time_unit, key, taps,
            event_filter, backfill, provenance; see ``StoreManifest``.
        rows: the row datasets, for their dtypes.
        key_id: keys, for their dtype.
        pad_code: (w,) codes of the pad row.

    Raises:
        ConfigError: an entry is missing or unknown.
        DataError: the pad row is not the codec's.
        ProvenanceError: the teacher trained on what it logged, without backfill.
    """
    known = {entry.name for entry in fields(StoreManifest)} - {"schema", "version", *_DERIVED}
    problems = [f"{name}: missing" for name in sorted(known - set(manifest_fields))]
    problems += [f"{name}: unknown entry" for name in sorted(set(manifest_fields) - known)]
    if problems:
        raise ConfigError([f"manifest_fields: {problem}" for problem in problems])
    codes = rows["codes"]
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
            for name, values in rows.items()
            if name.startswith("side/")
        },
    )
    seen = provenance_problems(manifest)
    if seen:
        raise ProvenanceError("; ".join(seen))
    return {
        entry.name: getattr(manifest, entry.name)
        for entry in fields(StoreManifest)
        if entry.name not in ("shards", "fingerprint")
    }
