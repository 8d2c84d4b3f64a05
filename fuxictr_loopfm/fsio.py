"""Files that are either whole or absent: atomic writes, checksums, fingerprints and locks.

Nothing in the package writes to a final name directly. A file or folder is written under a
temporary name beside its target, flushed to disk and renamed, so that a killed process leaves no
half-written artifact behind.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

TEMPORARY_PREFIX = ".loopfm-tmp-"
_CHUNK_BYTES = 1 << 20


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; rename it to ``target`` if the block succeeds.

    Raises:
        OSError: the folder cannot be written or the disk is full; ``target`` is then unchanged.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=TEMPORARY_PREFIX, suffix=target.suffix, dir=target.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _fsync(temporary)
        # mkstemp creates private files; artifacts follow the user's umask like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
        _fsync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_dir(target: Path | str) -> Iterator[Path]:
    """Yield a temporary folder; move it to ``target`` if the block succeeds.

    An existing ``target`` is replaced as a whole. A rename cannot replace a folder that has files
    in it, so the old one is moved aside first; readers hold open files and keep reading those.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=target.parent))
    try:
        yield temporary
        for path in sorted(temporary.rglob("*")):
            if path.is_file():
                _fsync(path)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if target.exists():
            outdated = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=target.parent))
            os.replace(target, outdated / "old")
            os.replace(temporary, target)
            shutil.rmtree(outdated, ignore_errors=True)
        else:
            os.replace(temporary, target)
        _fsync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(target: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 so that ``target`` is never seen half-written."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True) + "\n")


def sha256_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """16 hex digits that identify a JSON-like value (tuples count as lists, key order does not)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


@contextmanager
def locked(target: Path | str) -> Iterator[None]:
    """Hold an inter-process lock for building ``target``; says so when it has to wait."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logging.info("Waiting for another process that builds %s", target)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
