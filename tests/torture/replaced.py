"""Artifacts of two versions that replace each other while others read them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.files.atomic import atomic_dir
from fuxictr_loopfm.pipeline.preparation import point
from tests.torture import specimens

OLD, NEW, REFUSED, MIX = "old", "new", "refused", "mix"


@dataclass(frozen=True)
class Replaced:
    """A kind of artifact.

    Attributes:
        name: of the kind.
        write: puts version 0 or 1 in place of whatever is there.
        read: all of it, as a digest.
        may_say: what a refusal holds where a reader may refuse; None where it may not.
    """

    name: str
    write: Callable[[Path, int], None]
    read: Callable[[Path], str]
    may_say: str | None = None

    def known(self, folder: Path) -> dict[str, str]:
        """Digest -> version, of each version by itself; the old one stays."""
        found = {}
        for version in (1, 0):
            self.write(folder, version)
            found[self.read(folder)] = (OLD, NEW)[version]
        return found

    def verdict(self, folder: Path, known: Mapping[str, str]) -> str:
        """Which version is read, that it is refused where it may be, or that it is a mix."""
        try:
            return known.get(self.read(folder), MIX)
        except LoopFMError as error:
            if self.may_say is None or self.may_say not in str(error):
                raise
            return REFUSED


def _deleted_and_written(folder: Path, version: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    specimens.small_extraction(folder, version, parts=3)


def _write_store(folder: Path, version: int) -> None:
    """Build a store elsewhere and put it in the folder's place, as ``loopfm forget`` does.

    Nothing else in the package replaces a store: others have other names.
    """
    built = folder.with_name(f"{folder.name}-built")
    specimens.small_store(built, version, shards=2 + version)
    with atomic_dir(folder) as temporary:
        shutil.copytree(built, temporary, dirs_exist_ok=True)


def _write_and_link(link: Path, version: int) -> None:
    """Each version has a folder of its own, as ``loopfm prepare`` makes them."""
    folder = link.with_name(f"{link.name}-{version}")
    if not folder.exists():
        specimens.small_log(folder, version)
    point(link, folder)


def _read_linked(link: Path) -> str:
    """A run follows the link once, when it reads its configuration."""
    return specimens.read_log(link.resolve())


KINDS = (
    Replaced("event store", _write_store, specimens.read_store),
    # One that was opened, and replaced before it was read, says so.
    Replaced(
        "prepared data set",
        specimens.small_log,
        specimens.read_log,
        may_say="another data set took its place",
    ),
    Replaced("link to a prepared data set", _write_and_link, _read_linked),
    # A log that somebody deleted is filled where it lies.
    Replaced("extraction", _deleted_and_written, specimens.read_extraction, may_say=""),
)
