"""A store in words, for ``loopfm inspect``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fuxictr_loopfm.spec import UNITS_PER_SECOND
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.schema import StoreManifest

_QUANTILES = (0, 25, 50, 75, 95, 100)


def describe_store(folder: Path | str) -> str:
    """Summary of an event store, one fact per line.

    Args:
        folder: the store.

    Raises:
        StoreError: the folder holds no readable store.
        ProvenanceError: the teacher was trained on what it logged, without backfill.
    """
    store = EventStore.open(folder)
    manifest = store.manifest
    on_disk = sum(shard.bytes for shard in manifest.shards)
    lines = {
        "store": f"{store.folder} ({manifest.fingerprint}, format "
        f"{'.'.join(map(str, manifest.version))})",
        "data set": f"{manifest.dataset_id} ({manifest.dataset_fingerprint})",
        "key": f"{manifest.key} ({manifest.key_dtype})",
        "events": f"{store.num_events:,}",
        "keys": f"{store.num_keys:,}",
        "events per key": _events_per_key(store),
        "time span": _time_span(store),
        "dim": str(manifest.dim),
        "codec": f"{manifest.codec['kind']} ({manifest.code_dtype})",
        "bytes per event": _bytes_per_event(store, on_disk),
        "side columns": ", ".join(f"{name} ({dtype})" for name, dtype in manifest.side.items())
        or "none",
        "taps": ", ".join(manifest.taps),
        "event filter": manifest.event_filter or "none",
        **_provenance_lines(manifest),
    }
    width = max(map(len, lines))
    text = [f"{name:<{width}}  {value}" for name, value in lines.items()]
    text.append(f"shards: {len(manifest.shards)}, {on_disk:,} bytes")
    text += [
        f"  {shard.file}  {shard.rows:,} events  {shard.keys:,} keys  {shard.bytes:,} bytes  "
        f"sha256 {shard.sha256[:16]}"
        for shard in manifest.shards
    ]
    return "\n".join(text)


def _events_per_key(store: EventStore) -> str:
    if store.num_keys == 0:
        return "no events"
    counts = np.diff(store.key_ptr)
    values = np.percentile(counts, _QUANTILES, method="nearest")
    shown = [f"p{q} {int(value)}" for q, value in zip(_QUANTILES, values, strict=True)]
    return f"mean {counts.mean():.1f}, " + ", ".join(shown)


def _time_span(store: EventStore) -> str:
    if store.num_events == 0:
        return "no events"
    unit = store.manifest.time_unit
    first, last = int(store.timestamp[1:].min()), int(store.timestamp[1:].max())
    shown = f"{first} to {last} ({unit})"
    if unit == "ordinal":
        return shown
    dates = [np.datetime64(time // UNITS_PER_SECOND[unit], "s") for time in (first, last)]
    return f"{shown}, as Unix time {dates[0]} to {dates[1]} UTC"


def _bytes_per_event(store: EventStore, on_disk: int) -> str:
    per_event = on_disk / store.num_events if store.num_events else 0.0
    return f"{store.manifest.row_bytes} (codes), {per_event:.1f} (everything on disk)"


def _provenance_lines(manifest: StoreManifest) -> dict[str, str]:
    source = manifest.provenance
    periods = {
        name: ", ".join(map(str, source[name])) or "none"
        for name in (
            "teacher_train_periods",
            "logged_periods",
            "compressor_fit_periods",
            "quantizer_fit_periods",
        )
    }
    return {
        "teacher": f"{source['teacher_fingerprint']}, trained on periods "
        f"{periods['teacher_train_periods']}",
        "compressor": f"{source['compressor_fingerprint'] or 'none'}, fitted on periods "
        f"{periods['compressor_fit_periods']}",
        "quantizer": f"fitted on periods {periods['quantizer_fit_periods']}",
        "logged periods": periods["logged_periods"] + (" (backfill)" if manifest.backfill else ""),
    }
