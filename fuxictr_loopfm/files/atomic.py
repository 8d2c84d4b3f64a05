"""Files that are either whole or absent: atomic writes, checksums, fingerprints and locks.

Nothing in the package writes to a final name directly. A file or folder is written inside a
temporary folder beside its target, flushed to disk and renamed, so that a killed process leaves no
half-written artifact behind. What it does leave, the next one clears away.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from fuxictr_loopfm.errors import LoopFMError

TEMPORARY_PREFIX = ".loopfm-tmp-"
_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 1 << 15
# Of Linux's renameat2: count paths from the current folder, and swap instead of replacing.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT_SWAP = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)

T = TypeVar("T")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def scratch_dir(parent: Path | str) -> Iterator[Path]:
    """Yield a folder below ``parent`` that is gone after the block.

    Whoever works in one holds its lock, which the system releases when a process ends in whatever
    way. So a folder that can be locked is a killed process's, and is deleted by the next scratch
    folder or lock beside it. Where the file system locks no folders (NFS) none is ever deleted;
    machines must not share one whose locks hold for each machine alone (Lustre's localflock).
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(parent)
    path, descriptor = _held_folder(parent)
    try:
        yield path
    finally:
        try:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            shutil.rmtree(path, ignore_errors=True)  # a signal may have ended the first
            os.close(descriptor)


def _held_folder(parent: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # cleared away before it was locked: make another
            descriptor = os.open(path, os.O_RDONLY)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                return path, descriptor
            os.close(descriptor)


def clear_leftovers(folder: Path) -> None:
    """Delete what killed processes left in ``folder`` under temporary names."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        except OSError:
            continue  # somebody is at work in it
        finally:
            os.close(descriptor)


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path; move it to ``target`` if the block succeeds.

    Raises:
        OSError: the folder cannot be written or the disk is full; ``target`` is then unchanged.
    """
    target = Path(target)
    with _named_after(target), scratch_dir(target.parent) as scratch:
        temporary = scratch / target.name
        temporary.touch()
        yield temporary
        _fsync(temporary)
        os.replace(temporary, target)
        _fsync(target.parent)


@contextmanager
def atomic_dir(target: Path | str) -> Iterator[Path]:
    """Yield a temporary folder; move it to ``target`` if the block succeeds.

    An existing ``target`` is replaced as a whole: there is no moment without one, except on systems
    that cannot swap two folders. Readers hold open files and keep reading those; see
    :func:`read_whole` for readers that open several.

    Raises:
        OSError: the folder cannot be written or the disk is full; ``target`` is then unchanged.
    """
    target = Path(target)
    with _named_after(target), scratch_dir(target.parent) as scratch:
        temporary = scratch / target.name
        temporary.mkdir()
        yield temporary
        for path in (*sorted(temporary.rglob("*")), temporary):
            _fsync(path)
        _replace_dir(temporary, target)
        _fsync(target.parent)


def _replace_dir(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)  # a rename replaces no folder that has files in it
        return
    except OSError as error:
        if error.errno not in _NOT_EMPTY and not target.is_symlink():
            raise
    if swapped(source, target):
        return
    former = source.with_name(f"former-{source.name}")
    os.replace(target, former)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(former, target)
        raise


def swapped(one: Path, other: Path) -> bool:
    """Swap two folders or links in one step; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_SWAP:
        return False
    raise OSError(code, os.strerror(code), str(other))


@contextmanager
def _named_after(target: Path) -> Iterator[None]:
    """Name the target in errors, not its temporary; and say of a full disk that it is full.

    A write that fails half-way knows no file, and libraries word a full disk in ways of their own.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC or (error.errno is None and _is_full(target.parent, error)):
            error.errno, error.strerror = errno.ENOSPC, os.strerror(errno.ENOSPC)
        if error.filename is None or TEMPORARY_PREFIX in str(error.filename):
            error.filename = str(target)
        raise


def _is_full(folder: Path, error: OSError) -> bool:
    # numpy asks for the space of an array before it writes, and says this if there is none.
    if "free space" in str(error):
        return True
    usage = shutil.disk_usage(folder)
    return usage.total > 0 and usage.free == 0  # some network file systems report no sizes


def require_space(path: Path | str, size: int) -> None:
    """Refuse to begin a file that the disk has no room for.

    For writers that crash on a full disk instead of saying so, such as HDF5 while it closes a file.

    Args:
        path: the file to be written.
        size: its bytes, without headers.
    Raises:
        OSError: there is no room.
    """
    usage = shutil.disk_usage(Path(path).parent)
    if usage.total > 0 and usage.free < size + _HEADER_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def read_whole(folder: Path | str, read: Callable[[], T]) -> T:
    """What ``read`` makes of a folder that others may replace: of the old one or the new, no mix.

    Args:
        folder: replaced as a whole, by :func:`atomic_dir`.
        read: reads its files; called again if the folder was replaced in the meantime.
    """
    while True:
        before = identity(folder)
        try:
            found = read()
        except (LoopFMError, OSError):
            if identity(folder) == before:
                raise
            continue
        if identity(folder) == before:
            return found


def identity(folder: Path | str) -> tuple[int, ...]:
    """Changes when a folder is replaced, or files in it are; empty if there is none."""
    try:
        status = os.stat(folder)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_mtime_ns


def write_text(target: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 so that ``target`` is never seen half-written."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True) + "\n")


def append_line(target: Path | str, line: str) -> None:
    """Append a line to a file that several processes append to: all of it or nothing.

    Raises:
        OSError: the file cannot be written or the disk is full; it is then unchanged.
    """
    target = Path(target)
    with _named_after(target), open(target, "a+b", buffering=0) as stream:
        with suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        size = stream.seek(0, os.SEEK_END)
        # Another program may have been killed in the middle of its line.
        is_torn = size > 0 and os.pread(stream.fileno(), 1, size - 1) != b"\n"
        data = ("\n" * is_torn + line + "\n").encode("utf-8")
        try:
            if stream.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(size)
            raise


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
    """Hold an inter-process lock for building ``target``; says so when it has to wait.

    What a killed builder left in ``target`` or beside it is cleared away first.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logging.info("Waiting for another process that builds %s", target)
        lock.acquire()
    try:
        clear_leftovers(target.parent)
        clear_leftovers(target)
        yield
    finally:
        lock.release()
