"""Reads JSON lines, and the Python literals that Amazon's metadata of 2014 is written in.

Nothing is executed: a line becomes texts, numbers, lists and mappings, or one message with its
file and number. Lines are bounded, so memory is, whatever a file holds.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _text_files import progress, refuse_bomb

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.parts import short

MOST_JSON_BYTES = 4 << 20
# A literal is parsed to a syntax tree, hundreds of bytes for each of its own.
MOST_LITERAL_BYTES = 1 << 20
_GROWTH_CHECK_LINES = 1024
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
# No sign, operator or round bracket: long chains of them nest, and deep trees crash Python.
_PLAIN = re.compile(r"[\w\s\[\]{},:.]*", re.ASCII)


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """``(line number from 1, record)`` of each line that is not blank.

    Args:
        path: one mapping per line, ``.gz`` or plain. A line that begins with ``{'`` is a Python
            literal, any other is JSON.

    Raises:
        DataError: the file is missing or damaged, or a line is too long or no mapping.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with path.open("rb") as raw, progress(path, path.stat().st_size, "B") as bar:
            stream = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
            number = 0
            while line := stream.readline(MOST_JSON_BYTES + 1):
                number += 1
                if number % _GROWTH_CHECK_LINES == 0:
                    refuse_bomb(path, stream.tell())
                    bar.update(raw.tell() - bar.n)
                if not line.isspace():
                    yield number, _record(line, f"{path}: line {number}")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _record(line: bytes, where: str) -> dict[str, Any]:
    literal = line.lstrip().startswith(b"{'")
    most = MOST_LITERAL_BYTES if literal else MOST_JSON_BYTES
    if len(line) > most:
        raise DataError(f"{where}: expected at most {most:,} bytes, found more")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: expected UTF-8, found byte {error.start + 1} of another") from (
            error
        )
    value = _literal(text, where) if literal else _json(text, where)
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected one JSON object per line, found {short(text.strip())}")
    return value


def _json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: expected one JSON object per line, found {short(text.strip())} "
            f"({error.msg} at character {error.pos + 1})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: cannot be read: {error}") from error


def _literal(text: str, where: str) -> object:
    problem = f"{where}: expected one Python literal of texts, numbers, lists and mappings"
    if not _PLAIN.fullmatch(_QUOTED.sub("", text)):
        raise DataError(f"{problem}, found {short(text.strip())}")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{problem}, found {short(text.strip())}") from error
