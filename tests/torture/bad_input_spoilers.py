"""The ways to spoil an input, by the names that ``bad_input.yaml`` calls them.

Each takes the folder of the case and its own settings; paths are relative and may hold ``*`` where
exactly one file fits.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from fuxictr_loopfm.files.seals import SEAL, file_record, with_seal, without_seal

Settings = Mapping[str, Any]
# Linux capability bits that let root pass by file modes.
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION = 0x20080522


def spoil(folder: Path, steps: list[Mapping[str, Settings]]) -> None:
    """Do every step in order; a step is one spoiler's name with its settings."""
    for step in steps:
        ((name, settings),) = step.items()
        SPOILERS[name](folder, settings)


def one(folder: Path, pattern: str) -> Path:
    """The one path that fits, or a path that is not there yet."""
    if "*" not in pattern:
        return folder / pattern
    (found,) = folder.glob(pattern)
    return found


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def _write(path: Path, value: Any) -> None:
    """What another writer would leave: a description that was sealed is sealed again."""
    if isinstance(value, dict) and SEAL in value:
        value = with_seal(without_seal(value))
    as_json = path.suffix == ".json"
    text = json.dumps(value, indent=1) if as_json else yaml.safe_dump(value, sort_keys=False)
    path.write_text(text, encoding="utf-8")


def _set(folder: Path, settings: Settings) -> None:
    """``file``, ``at`` (keys from the outside in) and ``to``; without ``to`` the key is removed."""
    path = one(folder, settings["file"])
    value = target = _read(path)
    *outer, last = settings["at"]
    for key in outer:
        target = target[key]
    if "to" in settings:
        target[last] = settings["to"]
    else:
        del target[last]
    _write(path, value)


def _text(folder: Path, settings: Settings) -> None:
    """``file`` gets the text ``to``, in ``encoding`` (default: UTF-8)."""
    path = folder / settings["file"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(settings["to"].encode(settings.get("encoding", "utf-8")))


def _replace(folder: Path, settings: Settings) -> None:
    """In ``file``, text ``old`` becomes ``new``, ``times`` times (default: everywhere)."""
    path = one(folder, settings["file"])
    text = path.read_text(encoding="utf-8")
    assert settings["old"] in text, f"{path}: nothing to replace"
    path.write_text(text.replace(settings["old"], settings["new"], settings.get("times", -1)))


def _delete(folder: Path, settings: Settings) -> None:
    """``file`` is removed."""
    one(folder, settings["file"]).unlink()


def _truncate(folder: Path, settings: Settings) -> None:
    """``file`` keeps its first half."""
    path = one(folder, settings["file"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _copy(folder: Path, settings: Settings) -> None:
    """``file`` also stands at ``to``."""
    target = folder / settings["to"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(one(folder, settings["file"]).read_bytes())


def _file_for_folder(folder: Path, settings: Settings) -> None:
    """A file stands where the folder ``path`` is expected."""
    path = folder / settings["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("not a folder\n", encoding="utf-8")


def _folder_for_file(folder: Path, settings: Settings) -> None:
    """A folder stands where the file ``path`` is expected."""
    path = folder / settings["path"]
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def _folder(folder: Path, settings: Settings) -> None:
    """An empty folder ``path``."""
    (folder / settings["path"]).mkdir(parents=True)


def _unwritable(folder: Path, settings: Settings) -> None:
    """Nobody may write into the folder ``path``, this process included, even as root."""
    path = folder / settings["path"]
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o555)
    _obey_file_modes()


def _obey_file_modes() -> None:
    """Give up root's right to pass by file modes, in this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low word, then high word
    if libc.capget(header, data) == 0:
        for word in range(3):
            data[word] &= ~((1 << _DAC_OVERRIDE) | (1 << _DAC_READ_SEARCH))
        libc.capset(header, data)


def _table(folder: Path, settings: Settings) -> None:
    """Rows and columns of a csv or parquet ``file``; see the keys below.

    ``drop``: columns. ``rename``: old to new. ``cells``: [column, row, value]. ``column``: name to
    a value for all rows, or a list that is repeated. ``add``: name to a number. ``rows``: [first,
    stop]. ``reverse``: true. ``resealed``: the checksum in ``dataset.yaml`` is made to fit.
    """
    path = one(folder, settings["file"])
    parquet = path.suffix == ".parquet"
    frame = pd.read_parquet(path) if parquet else pd.read_csv(path)
    frame = frame.drop(columns=settings.get("drop", []))
    frame = frame.rename(columns=settings.get("rename", {}))
    for column, row, value in settings.get("cells", []):
        values = frame[column].tolist()
        values[row] = value
        frame[column] = values
    for name, values in settings.get("column", {}).items():
        listed = values if isinstance(values, list) else [values]
        frame[name] = np.resize(np.array(listed, dtype=object), len(frame)).tolist()
    for name, number in settings.get("add", {}).items():
        frame[name] = frame[name] + number
    frame = frame.iloc[slice(*settings.get("rows", [None]))]
    frame = frame.iloc[::-1] if settings.get("reverse") else frame
    if parquet:
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    if settings.get("resealed"):
        _reseal(path)


def _parquet(folder: Path, settings: Settings) -> None:
    """A csv ``file`` becomes the parquet file ``to``; ``types``: column to the name of its type."""
    frame = pd.read_csv(folder / settings["file"])
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name, kind in settings["types"].items():
        values = [None if pd.isna(value) else value for value in frame[name]]
        whole = [value if value is None else int(value) for value in values]
        made = pa.array(whole, type=pa.int64())
        made = made.cast(pa.decimal128(20, 0) if kind == "decimal" else pa.type_for_alias(kind))
        table = table.set_column(table.column_names.index(name), name, made)
    pq.write_table(table, folder / settings["to"])


def _reseal(path: Path) -> None:
    """A data set made by another tool: what is wrong with it has a fitting checksum."""
    spec = path.with_name("dataset.yaml")
    value = _read(spec)
    record = file_record(path)
    former = value["files"][path.name]
    value["files"][path.name] = record["sha256"] if isinstance(former, str) else record
    value["rows"] = len(pd.read_parquet(path))
    if "blocks" in value:
        value["blocks"][path.name] = record["blocks"]
    _write(spec, value)


def _array(folder: Path, settings: Settings) -> None:
    """``file`` (npy) is filled with ``to``."""
    path = one(folder, settings["file"])
    np.save(path, np.full_like(np.load(path), settings["to"]))


SPOILERS: dict[str, Callable[[Path, Settings], None]] = {
    "set": _set,
    "text": _text,
    "replace": _replace,
    "delete": _delete,
    "truncate": _truncate,
    "copy": _copy,
    "file_for_folder": _file_for_folder,
    "folder_for_file": _folder_for_file,
    "folder": _folder,
    "unwritable": _unwritable,
    "table": _table,
    "parquet": _parquet,
    "array": _array,
}
