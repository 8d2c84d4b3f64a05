"""Names, dtypes and the manifest of the event store. Data only, no I/O.

The normative text is ``docs/store_format.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.files.description import Format

SCHEMA = "loopfm.store"
VERSION = (1, 0)
MANIFEST_FILE = "manifest.json"
REBUILD = "Delete the folder and run the experiment again; it is rebuilt."
FORMAT = Format(SCHEMA, VERSION, StoreError, REBUILD)
SHARD_FORMAT = Format("loopfm.store.shard", (1, 0), StoreError, REBUILD)

CODE_DTYPES = ("uint8", "int8", "float16", "float32")
KEY_DTYPES = ("int64", "bytes")
TIME_UNITS = ("s", "ms", "us", "ordinal")
# Name in shard files of what is ``event_id`` everywhere else; it is older than that name.
EVENT_ID_DATASET = "src_row"
ROW_DATASETS = {"timestamp": "int64", EVENT_ID_DATASET: "int64", "logit": "float32"}
PAD_EVENT_ID = -1
MAX_DIM = 65_536
# Timestamp, source row and logit; pointer and at least one byte of the key.
LEAST_ROW_BYTES, LEAST_KEY_BYTES = 20, 9

_SHARD_FILE = re.compile(r"shard-\d{5}\.h5")
_SIDE_DTYPE = re.compile(r"[<|=]?([biuf][1248]|S\d{1,5}|bool|u?int(8|16|32|64)|float(16|32|64))")
_SIDE_NAME = re.compile(r"[^/.\0][^/\0]*")
_PERIOD_LISTS = (
    "teacher_train_periods",
    "logged_periods",
    "compressor_fit_periods",
    "quantizer_fit_periods",
)
# Fixed for major version 1: entries added by a minor version must not change an identity.
_IDENTITY_ENTRIES = ("dataset_id", "dataset_fingerprint", "key", "codec", "provenance")


def shard_file(index: int) -> str:
    """File name of shard ``index``."""
    return f"shard-{index:05d}.h5"


@dataclass(frozen=True)
class ShardRecord:
    """What the manifest knows about one shard file.

    Attributes:
        file: plain file name beside the manifest.
        rows: events, without the pad row.
        keys: distinct keys.
        bytes: size of the file.
        sha256: of the file's bytes.
        datasets: SHA-256 of each dataset's raw little-endian bytes, by path inside the file.
    """

    file: str
    rows: int
    keys: int
    bytes: int
    sha256: str
    datasets: dict[str, str]


@dataclass(frozen=True)
class StoreManifest:
    """The description of one event store.

    Attributes:
        dataset_id: the prepared data set the events come from.
        dataset_fingerprint: fingerprint of that data set.
        dim: d, width of a decoded embedding; 0 when the codec is "none".
        codec: {"kind": ..., parameters, "pad_code": list}; decodes a row of ``codes``.
        code_dtype: numpy name of the dtype of ``codes``.
        row_bytes: bytes of one row of ``codes``.
        time_unit: "s", "ms", "us" or "ordinal".
        key: column whose values group events into histories.
        key_dtype: "int64" or "bytes" (fixed-length UTF-8).
        taps: the teacher's tapped layers.
        side: numpy dtype string of each side column.
        event_filter: the filter the events passed, or None.
        backfill: True if the teacher may have trained on periods it logged.
        provenance: teacher_fingerprint, teacher_train_periods, logged_periods,
            compressor_fingerprint, compressor_fit_periods, quantizer_fit_periods.
        shards: one record per shard file.
        fingerprint: of everything above.
    """

    dataset_id: str
    dataset_fingerprint: str
    dim: int
    codec: dict[str, Any]
    code_dtype: str
    row_bytes: int
    time_unit: str
    key: str
    key_dtype: str
    taps: list[str]
    side: dict[str, str]
    event_filter: str | None
    backfill: bool
    provenance: dict[str, Any]
    shards: tuple[ShardRecord, ...] = ()
    schema: str = SCHEMA
    version: tuple[int, int] = VERSION
    fingerprint: str = field(default="")

    @property
    def rows(self) -> int:
        """Events in all shards, without pad rows."""
        return sum(shard.rows for shard in self.shards)

    @property
    def keys(self) -> int:
        """Distinct keys in all shards."""
        return sum(shard.keys for shard in self.shards)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary; the fingerprint is computed from the other entries."""
        plain = asdict(self)
        plain["version"] = list(self.version)
        plain["shards"] = [asdict(shard) for shard in self.shards]
        plain["fingerprint"] = manifest_fingerprint(plain)
        return plain

    @classmethod
    def from_dict(cls, plain: Any, source: str = "store manifest") -> StoreManifest:
        """Check a parsed manifest and build the record.

        Args:
            plain: parsed JSON.
            source: named in error messages.

        Raises:
            StoreError: unknown schema or major version, missing, unknown or invalid entries,
                or a fingerprint that does not fit the entries. All problems are named.
        """
        FORMAT.check(plain, source)
        known = {entry.name for entry in fields(cls)}
        problems = [f"{name}: missing" for name in sorted(known - set(plain))]
        # Entries of a newer minor version are unknown on purpose and must not stop a reader.
        if tuple(plain["version"]) <= VERSION:
            problems += [f"{name}: unknown entry" for name in sorted(set(plain) - known)]
        problems = problems or _manifest_problems(plain)
        if not problems and plain["fingerprint"] != manifest_fingerprint(plain):
            problems = [
                f"fingerprint: expected {manifest_fingerprint(plain)} for these entries, found "
                f"{plain['fingerprint']}; the manifest was altered"
            ]
        if problems:
            raise StoreError(f"{source}: {'; '.join(problems)}. {REBUILD}")
        values = {name: plain[name] for name in known}
        names = {entry.name for entry in fields(ShardRecord)}
        values["shards"] = tuple(
            ShardRecord(**{name: shard[name] for name in names}) for shard in plain["shards"]
        )
        values["version"] = tuple(plain["version"])
        return cls(**values)


def manifest_fingerprint(plain: Mapping[str, Any]) -> str:
    """Fingerprint of a manifest dictionary without its own ``fingerprint`` entry."""
    return fingerprint({name: plain[name] for name in plain if name != "fingerprint"})


def shard_identity(plain: Mapping[str, Any], index: int, shard: Mapping[str, Any]) -> str:
    """What a shard file carries to prove that it belongs to this manifest at this position."""
    own = [plain[name] for name in _IDENTITY_ENTRIES]
    return fingerprint([own, index, shard["rows"], shard["keys"], shard["datasets"]])


def provenance_problems(manifest: StoreManifest) -> list[str]:
    """Reasons why the teacher has seen what it logged; empty if it has not, or for a backfill."""
    trained = manifest.provenance["teacher_train_periods"]
    logged = manifest.provenance["logged_periods"]
    if manifest.backfill or not trained or not logged or max(trained) < min(logged):
        return []
    return [
        f"provenance: the teacher trained on periods {trained} and logged periods {logged}; it "
        f"must be trained only on periods before those it logs. Log later periods, or set "
        f"backfill to true to allow it by name"
    ]


def _is_list_of(value: Any, kind: type) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    return all(isinstance(item, kind) and not isinstance(item, bool) for item in value)


def _manifest_problems(plain: Mapping[str, Any]) -> list[str]:
    shards = plain["shards"]
    checks = {
        "dataset_id": ("a name", isinstance(plain["dataset_id"], str)),
        "dataset_fingerprint": ("hex digits", isinstance(plain["dataset_fingerprint"], str)),
        "dim": (f"0 to {MAX_DIM}", type(plain["dim"]) is int and 0 <= plain["dim"] <= MAX_DIM),
        "codec": ("a mapping with kind and pad_code", _is_codec(plain["codec"])),
        "code_dtype": (f"one of {CODE_DTYPES}", plain["code_dtype"] in CODE_DTYPES),
        "row_bytes": ("0 or more", type(plain["row_bytes"]) is int and plain["row_bytes"] >= 0),
        "time_unit": (f"one of {TIME_UNITS}", plain["time_unit"] in TIME_UNITS),
        "key": ("a column name", isinstance(plain["key"], str)),
        "key_dtype": (f"one of {KEY_DTYPES}", plain["key_dtype"] in KEY_DTYPES),
        "taps": ("a list of names", _is_list_of(plain["taps"], str)),
        "side": ("{column: dtype}", _is_side(plain["side"])),
        "event_filter": ("text or null", isinstance(plain["event_filter"], (str, type(None)))),
        "backfill": ("true or false", isinstance(plain["backfill"], bool)),
        "shards": ("a list of shard records", isinstance(shards, (list, tuple)))
        if not isinstance(shards, (list, tuple)) or not shards
        else ("shard records with plain file names", all(map(_is_shard, shards))),
    }
    problems = [
        f"{name}: expected {expected}, found {plain[name]!r}"
        for name, (expected, fits) in checks.items()
        if not fits
    ]
    return problems + _provenance_entries(plain["provenance"])


def _is_codec(codec: Any) -> bool:
    return isinstance(codec, Mapping) and isinstance(codec.get("kind"), str) and "pad_code" in codec


def _is_side(side: Any) -> bool:
    return isinstance(side, Mapping) and all(
        _SIDE_NAME.fullmatch(name) and isinstance(dtype, str) and _SIDE_DTYPE.fullmatch(dtype)
        for name, dtype in side.items()
    )


def _is_shard(shard: Any) -> bool:
    if not isinstance(shard, Mapping) or {e.name for e in fields(ShardRecord)} - set(shard):
        return False
    counts = (shard["rows"], shard["keys"], shard["bytes"])
    return (
        isinstance(shard["file"], str)
        and _SHARD_FILE.fullmatch(shard["file"]) is not None
        and all(type(count) is int and count >= 0 for count in counts)
        and isinstance(shard["datasets"], Mapping)
    )


def _provenance_entries(provenance: Any) -> list[str]:
    if not isinstance(provenance, Mapping):
        return [f"provenance: expected a mapping, found {provenance!r}"]
    problems = [
        f"provenance.{name}: expected a list of periods, found {provenance.get(name)!r}"
        for name in _PERIOD_LISTS
        if not _is_list_of(provenance.get(name), int)
    ]
    for name in ("teacher_fingerprint", "compressor_fingerprint"):
        if not isinstance(provenance.get(name, 0), (str, type(None))):
            problems.append(
                f"provenance.{name}: expected a fingerprint or null, found "
                f"{provenance.get(name, 'nothing')!r}"
            )
    return problems
