"""One JSON file per run: what was trained on what, by which code, and what came out.

Leaderboards are derived from these records and from nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files import atomic
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.plain_text import parse_json
from fuxictr_loopfm.files.seals import with_seal
from fuxictr_loopfm.records.packing import is_header, merged

SCHEMA = "loopfm.run"
# Lies among records and holds none: differences between them, see ``comparison.py``.
COMPARISONS = "comparisons.jsonl"
VERSION = 1
FORMAT = Format(SCHEMA, VERSION, DataError, "Give another record, or delete it and run again.")
METRICS = ("AUC", "gAUC", "logloss", "NE")
FINGERPRINTS = ("data", "code", "teacher", "store", "config")
_OPTIONAL_METRICS = {"gAUC"}
# Beside those of tables: gAUC with histories that know the labels of the rows it compares.
SIDE_METRICS = ("gAUC_live",)
# Fields that records of earlier releases do not have.
LATER_FIELDS = {"split", "world_size", "repeat", "paper_table", "warnings", "by_period"}


@dataclass(frozen=True)
class RunRecord:
    """One trained and tested model. Plain data: equal records have equal JSON.

    Attributes:
        expid: name of the experiment; together with the seed it names the record's file.
        model: model and, after a colon, its variant ("DeepFM", "DeepFM:small").
        method: "base", "KD", "LoopFM+label" and so on.
        encoder: history encoder, "" for a method without histories.
        dataset_id: prepared data set.
        protocol: how data were split and trained on ("stream"); tables never mix two.
        seed: of initialisation and training.
        metrics: test values of AUC, logloss and NE, and gAUC where groups exist. Where histories
            have labels, gAUC is of a model to which those of the test period are unknown, and
            ``gAUC_live`` of the model as it predicts.
        params: trainable parameters.
        bytes_per_event: stored per logged event, 0 without an event store.
        train_seconds: wall-clock time of training.
        config: the resolved configuration; tuples become lists, other objects their text.
        fingerprints: of data, code, teacher, store and config; "" where there is none.
        environment: see ``collect_environment``.
        command: the exact command line that made the run.
        started: UTC time in ISO 8601, see ``utc_now``.
        split: which part of the data trains and tests, as a reader should be told.
        world_size: processes that trained it together; older records do not say and had one.
        repeat: what ``loopfm rerun`` needs and compares besides the above, see ``repeat.py``; older
            records have none.
        paper_table: number of the paper's table that it was run for; None for every other run.
        by_period: of a teacher, AUC of its log by period.
        warnings: why its metrics are worth nothing, such as a constant prediction; mostly empty.
    """

    expid: str
    model: str
    method: str
    encoder: str
    dataset_id: str
    protocol: str
    seed: int
    metrics: dict[str, float]
    params: int
    bytes_per_event: float
    train_seconds: float
    config: dict[str, Any]
    fingerprints: dict[str, str]
    environment: dict[str, Any]
    command: str
    started: str
    split: str = ""
    world_size: int = 1
    repeat: dict[str, Any] = field(default_factory=dict)
    paper_table: int | None = None
    warnings: list[str] = field(default_factory=list)
    by_period: dict[str, float] = field(default_factory=dict)
    schema: str = field(default=SCHEMA, init=False)
    version: int = field(default=VERSION, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", plain(self.config))
        object.__setattr__(self, "environment", plain(self.environment))
        object.__setattr__(self, "repeat", plain(self.repeat))
        problems = _problems(asdict(self))
        if problems:
            raise DataError(f"run record {self.expid!s}: " + "; ".join(problems))

    @property
    def file_name(self) -> str:
        """``<expid>-seed<seed>.json``."""
        return f"{self.expid}-seed{self.seed}.json"

    @property
    def started_at(self) -> datetime:
        """``started`` as a time that can be compared."""
        return _utc_time(self.started)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary of all fields, ready for JSON; an older record stays what it was."""
        plain = asdict(self)
        if not self.repeat:
            del plain["repeat"]
        if self.paper_table is None:
            del plain["paper_table"]
        if not self.warnings:
            del plain["warnings"]
        if not self.by_period:
            del plain["by_period"]
        return plain

    @classmethod
    def from_dict(cls, value: Any) -> RunRecord:
        """Read what ``to_dict`` wrote.

        Raises:
            DataError: another schema or version, or a key that is missing, unknown or invalid.
        """
        FORMAT.check(value)
        arguments = {key: item for key, item in value.items() if key not in ("schema", "version")}
        known = {item.name for item in fields(cls) if item.init}
        problems = [f"{key}: missing" for key in sorted(known - LATER_FIELDS - set(arguments))]
        problems += [f"{key}: unknown key" for key in sorted(set(arguments) - known)]
        if problems:
            raise DataError("; ".join(problems))
        return cls(**arguments)


def write_record(folder: Path | str, record: RunRecord) -> Path:
    """Write ``record`` atomically and sealed into ``folder`` and return the file's path."""
    path = Path(folder) / record.file_name
    atomic.write_json(path, with_seal(record.to_dict()))
    return path


def read_records(paths: Iterable[Path | str]) -> list[RunRecord]:
    """Read the records at ``paths``: folders (searched through), ``.json`` or ``.jsonl`` files.

    In a folder a record is a file named ``*-seed<number>.json`` or a ``.jsonl`` file with one
    record a line, packed or not (``record_pack``). A file that is reached twice is read once.

    Raises:
        DataError: a path does not exist, holds no record, or a record is unreadable or invalid.
    """
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        found = _record_files(path)
        if not found:
            raise DataError(
                f"{path}: expected run records (*-seed<number>.json or *.jsonl), found none; "
                "run `loopfm benchmark` first or give the folder of its output"
            )
        files.update(dict.fromkeys(file.resolve() for file in found))
    return [record for file in files for record in _read_file(file)]


def plain(value: Any) -> Any:
    """The JSON-like equivalent of a configuration value; a finished run must not fail on one."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_amount(value: Any) -> bool:
    number = isinstance(value, float) or _is_integer(value)
    return number and math.isfinite(value) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _utc_time(text: str) -> datetime:
    # Python 3.10 does not know the suffix Z.
    return datetime.fromisoformat(re.sub("Z$", "+00:00", text))


def _is_utc(value: Any) -> bool:
    try:
        return _utc_time(value).utcoffset() == timedelta(0)
    except (TypeError, ValueError):
        return False


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "expid": (
        lambda value: _is_text(value) and not re.search(r"[/\\\0\n]|^\.", value),
        "a name without slashes",
    ),
    **dict.fromkeys(("model", "method", "dataset_id", "protocol"), (_is_text, "a text")),
    **dict.fromkeys(
        ("encoder", "command", "split"), (lambda value: isinstance(value, str), "a text")
    ),
    "seed": (_is_integer, "an integer"),
    "world_size": (lambda value: _is_integer(value) and value >= 1, "an integer of 1 or more"),
    "paper_table": (
        lambda value: value is None or (_is_integer(value) and value >= 1),
        "an integer of 1 or more, or nothing",
    ),
    "params": (lambda value: _is_integer(value) and value >= 0, "an integer of 0 or more"),
    "bytes_per_event": (_is_amount, "a finite number of 0 or more"),
    "train_seconds": (_is_amount, "a finite number of 0 or more"),
    "config": (lambda value: isinstance(value, Mapping), "a mapping"),
    "environment": (lambda value: isinstance(value, Mapping), "a mapping"),
    "repeat": (lambda value: isinstance(value, Mapping), "a mapping"),
    "by_period": (
        lambda value: isinstance(value, Mapping) and all(map(_is_amount, value.values())),
        "an AUC by period",
    ),
    "warnings": (
        lambda value: isinstance(value, list) and all(map(_is_text, value)),
        "a list of texts",
    ),
    "started": (_is_utc, "a UTC time such as 2026-01-31T12:00:00+00:00"),
}


def _problems(value: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key}: expected {expected}, found {value[key]!r}"
        for key, (check, expected) in _CHECKS.items()
        if not check(value[key])
    ]
    metrics, prints = value["metrics"], value["fingerprints"]
    if not isinstance(metrics, Mapping) or not isinstance(prints, Mapping):
        return [*problems, "metrics, fingerprints: expected mappings"]
    for key in sorted(set(METRICS) - _OPTIONAL_METRICS | set(metrics)):
        if key not in (*METRICS, *SIDE_METRICS):
            problems.append(f"metrics.{key}: unknown metric, expected {', '.join(METRICS)}")
        elif not _is_amount(metrics.get(key)):
            problems.append(f"metrics.{key}: expected a finite number, found {metrics.get(key)!r}")
    for key in FINGERPRINTS:
        if not isinstance(prints.get(key), str):
            problems.append(f"fingerprints.{key}: expected a text, found {prints.get(key)!r}")
    return problems


def _record_files(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(
            f"{path}: expected run records, found no such file or folder. "
            "Give the output folder of `loopfm benchmark`, or record files."
        )
    if path.is_file():
        return [path]
    candidates = [*path.rglob("*.json"), *path.rglob("*.jsonl")]
    return sorted(
        file
        for file in candidates
        if not file.name.startswith(".")
        and file.name != COMPARISONS
        and (file.suffix == ".jsonl" or re.search(r"-seed-?\d+\.json$", file.name))
    )


def _read_file(path: Path) -> list[RunRecord]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a readable UTF-8 text file, found {error}") from error
    if path.suffix != ".jsonl":
        return [_parse(text, str(path), {})]
    shared: Mapping[str, Any] = {}
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        place = f"{path}, line {number}"
        if line.strip() and number == 1 and is_header(header := _json(line, place), place):
            shared = header["shared"]
        elif line.strip():
            records.append(_parse(line, place, shared))
    return records


def _parse(text: str, place: str, shared: Mapping[str, Any]) -> RunRecord:
    own = _json(text, place)
    own = merged(shared, FORMAT.unsealed(own, place))
    FORMAT.check(own, place)
    try:
        return RunRecord.from_dict(own)
    except DataError as error:
        raise DataError(f"{place}: {error}. {FORMAT.rebuild}") from error


def _json(text: str, place: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise DataError(
            f"{place}: expected JSON, found {error}; delete the file and run again"
        ) from error
