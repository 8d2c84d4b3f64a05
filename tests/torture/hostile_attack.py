"""One attack: what is done with which file, and what the answer must name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attack:
    """An input made to harm, and the reader or command that gets it.

    Attributes:
        kind: chapter of the report.
        name: what is tried.
        run: reads it.
        names: what the refusal must name: the file, usually.
        harmless: True for what must go on working.
        untouched: a file that must still hold ``precious``.
    """

    kind: str
    name: str
    run: Callable[[], object]
    names: str = ""
    harmless: bool = False
    untouched: Path | None = None


Content = str | bytes | Callable[[Path], object]


def offered(
    kind: str,
    name: str,
    path: Path,
    content: Content,
    read: Callable[[Path], object],
    names: str | None = None,
    *,
    harmless: bool = False,
    encoding: str = "utf-8",
) -> Attack:
    """An attack by what a file holds: a text, bytes, or what a function writes there.

    Args:
        kind: see :class:`Attack`, as ``name``, ``names`` and ``harmless``; the file's own name is
            what a refusal must name, if nothing else is given.
        name: what is tried.
        path: of the file.
        content: of it.
        read: the reader that gets its path.
        names: what a refusal must name.
        harmless: whether it must go on working.
        encoding: of a text.
    """

    def run() -> object:
        if callable(content):
            content(path)
        else:
            path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
        return read(path)

    return Attack(kind, name, run, path.name if names is None else names, harmless)
