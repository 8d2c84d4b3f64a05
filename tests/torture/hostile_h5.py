"""Attacks by h5 files whose checksums are right, because their author wrote the manifest too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuxictr_loopfm.files.atomic import sha256_file
from fuxictr_loopfm.prepared.columns_io import read_sequence
from fuxictr_loopfm.store.event_store import EventStore
from fuxictr_loopfm.store.schema import manifest_fingerprint, shard_identity
from tests.torture.hostile_attack import Attack
from tests.torture.specimens import EVENTS, small_store

H5 = "h5"


def reseal(folder: Path, *, touch: bool = True, **changes: Any) -> None:
    """Make the manifest fit the shard, as the author of both would.

    Args:
        folder: the store.
        touch: also write the shard's identity, which a damaged file may not survive.
        changes: entries of the shard's record; ``top`` for those of the manifest.
    """
    path, shard = folder / "manifest.json", folder / "shard-00000.h5"
    plain = json.loads(path.read_text())
    plain.update(changes.pop("top", {}))
    record = plain["shards"][0]
    record.update(changes)
    if touch:
        with h5py.File(shard, "r+") as file:
            file.attrs["identity"] = np.bytes_(shard_identity(plain, 0, record).encode())
    record.update(bytes=shard.stat().st_size, sha256=sha256_file(shard))
    plain["fingerprint"] = manifest_fingerprint(plain)
    path.write_text(json.dumps(plain))


def datasets(folder: Path) -> dict[str, Callable[[h5py.File], object]]:
    """How ``logit`` is made anew, by what is wrong with it."""
    values = np.zeros(EVENTS + 1, np.float32)
    outside = folder / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["logit"] = values
    (folder / "outside.bin").write_bytes(values.tobytes())
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[:] = h5py.VirtualSource(str(outside), "logit", values.shape)
    external = [(str(folder / "outside.bin"), 0, values.nbytes)]
    compound = np.dtype([("a", "<f4"), ("b", h5py.string_dtype())])
    huge = (1 << 50,)

    def compact(file: h5py.File) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(values.shape)
        h5py.h5d.create(file.id, b"logit", h5py.h5t.IEEE_F32LE, space, plist)

    return {
        "external link": lambda f: f.__setitem__("logit", h5py.ExternalLink(str(outside), "logit")),
        "soft link": lambda f: f.__setitem__("logit", h5py.SoftLink("/timestamp")),
        "soft link to itself": lambda f: f.__setitem__("logit", h5py.SoftLink("/logit")),
        "virtual dataset": lambda f: f.create_virtual_dataset("logit", layout),
        "external storage": lambda f: f.create_dataset("logit", (61,), "f4", external=external),
        "vlen text": lambda f: f.create_dataset("logit", values.shape, h5py.string_dtype()),
        "vlen numbers": lambda f: f.create_dataset("logit", (61,), h5py.vlen_dtype("f4")),
        "references": lambda f: f.create_dataset("logit", values.shape, h5py.ref_dtype),
        "region references": lambda f: f.create_dataset("logit", (61,), h5py.regionref_dtype),
        "compound": lambda f: f.create_dataset("logit", values.shape, compound),
        "opaque": lambda f: f.create_dataset("logit", values.shape, h5py.opaque_dtype("V4")),
        "big-endian": lambda f: f.create_dataset("logit", data=values.astype(">f4")),
        "chunks": lambda f: f.create_dataset("logit", data=values, chunks=(7,)),
        "gzip": lambda f: f.create_dataset("logit", data=values, compression="gzip"),
        "compact": compact,
        "a shape without storage": lambda f: f.create_dataset("logit", values.shape, "f4"),
        "a huge shape without storage": lambda f: f.create_dataset("logit", huge, "f4"),
        "a scalar": lambda f: f.create_dataset("logit", data=np.float32(1)),
        "no data at all": lambda f: f.create_dataset("logit", data=h5py.Empty("f4")),
        "a group": lambda f: f.create_group("logit"),
        "a group that holds itself": lambda f: f.__setitem__("logit", f["/"]),
        "a named type": lambda f: f.__setitem__("logit", np.dtype("f4")),
        "nothing": lambda _: None,
    }  # fmt: skip


def attacks(folder: Path) -> Iterator[Attack]:
    """All attacks by h5 files."""
    own = folder / "h5"
    own.mkdir()
    for number, (name, make) in enumerate(datasets(own).items()):
        yield _opened(own, name, number, partial(_replace, make=make))
    attributes: dict[str, Any] = {
        "a number": 3, "an array": np.zeros(1000), "vlen text": "text", "empty": h5py.Empty("S1"),
        "an array of texts": np.array([b"a", b"b"]), "a reference": h5py.Reference(),
    }  # fmt: skip
    for name, value in attributes.items():
        yield _opened(own, f"identity is {name}", name, partial(_set_identity, value=value))
    for rows in (10**15, 2**62, 10**30):
        top = {"rows": rows}
        yield _opened(own, f"a manifest of {rows} rows", f"r{rows}", partial(reseal, **top))
        yield _opened(own, f"a manifest of {rows} keys", f"k{rows}", partial(reseal, keys=rows))
    for dtype in ("O", "V1000000000", "S2000000000", "i4,i4", "bogus", "datetime64[s]", ">i8"):
        side = {"side": {"label": dtype}}
        yield _opened(own, f"side column of {dtype}", f"d{dtype}", partial(reseal, top=side))
    for file in ("../h5/x.h5", "/etc/passwd", "shard-00000.h5\n", "shard-0.h5"):
        yield _opened(own, f"shard {file!r}", f"f{len(file)}", partial(reseal, file=file))
    for entry in ("row_bytes", "dim"):
        yield _opened(own, f"{entry} of 2**60", entry, partial(reseal, top={entry: 1 << 60}))
    yield _opened(own, "user block", "user", _with_user_block)
    yield from _sequences(own)


def _opened(own: Path, name: str, place: object, spoil: Callable[[Path], object]) -> Attack:
    store = own / f"store-{str(place).replace('/', '-')}"

    def run() -> object:
        return EventStore.open(store)

    small_store(store)
    spoil(store)
    return Attack(H5, name, run, store.name)


def _replace(store: Path, make: Callable[[h5py.File], object]) -> None:
    with h5py.File(store / "shard-00000.h5", "r+") as file:
        del file["logit"]
        make(file)
    reseal(store)


def _set_identity(store: Path, value: Any) -> None:
    reseal(store)
    with h5py.File(store / "shard-00000.h5", "r+") as file:
        del file.attrs["identity"]
        file.attrs.create(
            "identity", value, dtype=h5py.ref_dtype if isinstance(value, h5py.Reference) else None
        )
    path, shard = store / "manifest.json", store / "shard-00000.h5"
    plain = json.loads(path.read_text())
    plain["shards"][0].update(bytes=shard.stat().st_size, sha256=sha256_file(shard))
    plain["fingerprint"] = manifest_fingerprint(plain)
    path.write_text(json.dumps(plain))


def _with_user_block(store: Path) -> None:
    shard = store / "shard-00000.h5"
    with h5py.File(shard, "r") as old, h5py.File(store / "new", "w", userblock_size=512) as new:
        for name in old:
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs[name] = value
    (store / "new").replace(shard)
    reseal(store)


def _sequences(own: Path) -> Iterator[Attack]:
    """sequences.h5 of a prepared data set."""
    outside = own / "outside.h5"
    numbers = np.zeros(3, np.int64)
    good = {"values": np.array([b"a"]), "end": numbers, "len": numbers.astype(np.uint16)}
    spoilers: dict[str, Callable[[h5py.Group], object]] = {
        "external link": lambda g: g.__setitem__("end", h5py.ExternalLink(str(outside), "logit")),
        "a huge shape": lambda g: g.create_dataset("end", (1 << 50,), "i8"),
        "chunks": lambda g: g.create_dataset("end", data=numbers, chunks=(2,)),
        "vlen text": lambda g: g.create_dataset("end", data=["a", "b"]),
        "floats": lambda g: g.create_dataset("end", data=numbers.astype("f8")),
        "a group": lambda g: g.create_group("end"),
        "nothing": lambda _: None,
    }
    for name, spoil in spoilers.items():
        path = own / f"sequences-{name.replace(' ', '-')}.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("his")
            for part, values in good.items():
                if part != "end":
                    group[part] = values
            spoil(group)
        yield Attack(H5, f"sequence: {name}", partial(read_sequence, path, "his"), path.name)
    yield Attack(H5, "sequence ../outside", partial(read_sequence, path, "../outside"), path.name)
