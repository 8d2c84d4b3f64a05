"""Which of the package's modules a model computes with, read from its source without running it.

A teacher's weights follow from its model's code. Part of that may lie in the package: what several
models share. Imports are followed from module to module; those made at run time by a name are not
seen, and those of other packages do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# What models are built of. The rest of the package decides how they are fed and where they are
# kept; it may change without a teacher being another one.
_PARTS_OF_MODELS = ("layers", "host.sequence_model")


def package_code(files: Iterable[Path]) -> dict[str, Path]:
    """The modules that source files import, directly or through each other.

    Args:
        files: a model's own source files.

    Returns:
        Paths by dotted name inside the package, sorted by name.
    """
    found: dict[str, Path] = {}
    pending = list(files)
    while pending:
        for name in _imported(pending.pop()):
            path = _source_of(name)
            if path is not None and name not in found:
                found[name] = path
                pending.append(path)
    return dict(sorted(found.items()))


def _imported(file: Path) -> Iterator[str]:
    """Dotted names inside the package that a file imports, or may: ``from a import b`` gives two.

    The second may be a module or a thing in one.
    """
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError):
        return  # Importing the model says what is wrong with it.
    prefix = f"{_PACKAGE.name}."
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith(prefix):
                yield name.removeprefix(prefix)


def _source_of(name: str) -> Path | None:
    """The file of a module that is part of models, None for any other name."""
    if not any(name == part or name.startswith(f"{part}.") for part in _PARTS_OF_MODELS):
        return None
    place = _PACKAGE.joinpath(*name.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None
