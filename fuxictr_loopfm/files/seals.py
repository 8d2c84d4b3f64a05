"""Descriptions and files that tell whether they are still as they were written.

A description (JSON or YAML) carries a seal, one more entry over all the others::

    {"dim": 4, "seal": {"entries": {"dim": "4b227777"}, "sha256": "..."}}

One without a seal is of a release before seals and is read as it is. For that a damaged seal must
not look like none, so whoever reads a description names the entries that those releases wrote: a
further one is a seal whose name was hit.

Of a file its description keeps a record: the size, a SHA-256, and a CRC per block, which tells
where the file was altered.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from fuxictr_loopfm.files.atomic import sha256_file

SEAL = "seal"
_SHORT = 8
_LEAST_BLOCK, _MOST_BLOCKS = 1 << 12, 256
# Two changes within a tick of the file system's clock leave one time: what is younger is not kept.
_SETTLED_NS = 50_000_000


def with_seal(value: Mapping[str, Any]) -> dict[str, Any]:
    """The description and its seal, which stands first: a truncated file still has it."""
    return {SEAL: _seal(value), **value}


def without_seal(value: Mapping[str, Any]) -> dict[str, Any]:
    """The description that was sealed."""
    return {name: value[name] for name in value if name != SEAL}


def seal_problem(value: Any, known: Collection[str]) -> str | None:
    """Why a description is not what was written, naming the entries; None if it is.

    Args:
        value: as parsed.
        known: entries of releases before seals.
    """
    if not isinstance(value, Mapping):
        return f"expected a mapping, found {type(value).__name__}"
    body = without_seal(value)
    if SEAL not in value:
        strange = [str(name) for name in body if name not in known]
        return f"{', '.join(strange)}: unknown entry and no {SEAL}: altered" if strange else None
    try:
        expected = _seal(body)
    except (TypeError, ValueError):
        return f"{SEAL}: does not fit the entries, which were altered"
    found = value[SEAL]
    if found == expected:
        return None
    before = found.get("entries") if isinstance(found, Mapping) else None
    now = expected["entries"]
    altered = []
    if isinstance(before, Mapping):
        altered = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return f"{', '.join(map(str, altered)) or SEAL}: does not fit the {SEAL}: altered"


def file_record(path: Path | str) -> dict[str, Any]:
    """``bytes``, ``sha256`` and ``blocks`` (8 hex digits each) of a file."""
    size = os.stat(path).st_size
    return {"bytes": size, "sha256": file_sha256(path), "blocks": _blocks(path, size)}


def file_problem(path: Path, record: Mapping[str, Any]) -> str | None:
    """Why a file is not the recorded one, naming it and where; None if it is.

    Args:
        path: the file.
        record: ``sha256``, and if known ``bytes`` and ``blocks``.
    """
    if not isinstance(record, Mapping) or not isinstance(record.get("sha256"), str):
        return f"{path}: expected a record of its bytes and sha256, found {record!r}"
    if not path.is_file():
        return f"{path}: the file is missing"
    try:
        found, expected = os.stat(path).st_size, record.get("bytes")
        if expected is not None and found != expected:
            return f"{path}: size: expected {expected} bytes, found {found}"
        digest = file_sha256(path)
        if digest == record["sha256"]:
            return None
        return f"{path}: sha256: expected {record['sha256']}, found {digest}{_place(path, record)}"
    except FileNotFoundError:
        return f"{path}: the file is missing"  # it went in the meantime


def file_sha256(path: Path | str) -> str:
    """Hex SHA-256 of a file; read once per process while size, time and inode stay."""
    status = os.stat(path)
    if abs(time.time_ns() - status.st_mtime_ns) < _SETTLED_NS:
        return sha256_file(path)
    identity = (status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
    return _remembered(os.path.abspath(path), identity)


@lru_cache(maxsize=1 << 12)
def _remembered(path: str, identity: tuple[int, ...]) -> str:
    return sha256_file(path)


def _seal(value: Mapping[str, Any]) -> dict[str, Any]:
    entries = {str(name): _digest(value[name])[:_SHORT] for name in sorted(value)}
    return {"entries": entries, "sha256": _digest(value)}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _block_bytes(size: int) -> int:
    """A power of two, so that a file has at most 256 blocks."""
    return max(_LEAST_BLOCK, 1 << (max(size, 1) // _MOST_BLOCKS).bit_length())


def _blocks(path: Path | str, size: int) -> str:
    found = []
    with open(path, "rb") as stream:
        while block := stream.read(_block_bytes(size)):
            found.append(f"{zlib.crc32(block):08x}")
    return "".join(found)


def _place(path: Path, record: Mapping[str, Any]) -> str:
    """`` in bytes 4096 to 8191``, if the blocks say so."""
    size, expected = os.stat(path).st_size, record.get("blocks")
    found = _blocks(path, size)
    if not isinstance(expected, str) or len(expected) != len(found):
        return ""
    starts = range(0, len(found), _SHORT)
    wrong = [i // _SHORT for i in starts if found[i : i + _SHORT] != expected[i : i + _SHORT]]
    if not wrong:
        return ""
    block = _block_bytes(size)
    return f" in bytes {wrong[0] * block} to {min((wrong[-1] + 1) * block, size) - 1}"
