"""What a search for artifacts gives: a kind and a place, before anything in it was read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """One artifact, or files of one kind in a folder.

    Attributes:
        kind: name of an entry of ``kinds.KINDS``; or ``leftover`` of a killed process, or
            ``unknown``.
        path: the artifact's folder or file; the folder of ``files``.
        files: of a kind whose files lie in folders with others, such as records.
        finished: False if the file that is written last is not there.
    """

    kind: str
    path: Path
    files: tuple[Path, ...] = ()
    finished: bool = True
