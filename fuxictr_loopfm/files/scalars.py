"""What YAML 1.1 made of a value that was meant otherwise, and how to write it.

``NO`` without quotes is false, ``010`` is 8, ``12:30`` is 750, and ``1e-5`` is a text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fuxictr_loopfm.files.plain_text import plain_scalars

_EXPONENT = re.compile(r"([+-]?[0-9][0-9_]*)(\.[0-9_]*)?[eE]([+-]?)([0-9]+)")
_WORDS = ("true", "false", "yes", "no", "on", "off")
# Whole numbers that YAML reads in base 8 or 60; nobody means that in a configuration.
_OTHER_BASE = re.compile(r"[+-]?(0[0-7_]+|[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
_MAYBE_OTHER_BASE = re.compile(r"(^|[\s\[,{])[+-]?(0[0-7_]|[0-9_]+:[0-9])", flags=re.MULTILINE)


def meant_number(value: Any) -> str:
    """A hint beside "expected a number", empty if the value is not a text that looks like one."""
    if not isinstance(value, str):
        return ""
    match = _EXPONENT.fullmatch(value)
    if match:
        whole, fraction, sign, power = match.groups()
        tail = fraction if fraction and len(fraction) > 1 else ".0"
        return f"; YAML takes {value} for a text, write {whole}{tail}e{sign or '+'}{power}"
    try:
        float(value)
    except ValueError:
        return ""
    return f"; it is a text, write {value} without quotes"


def meant_bool(value: Any) -> str:
    """A hint beside "expected true or false"."""
    if isinstance(value, str) and value.lower() in _WORDS:
        return f"; in quotes it is a text, write {value.lower()} without them"
    return ""


def meant_text(value: Any) -> str:
    """A hint beside "expected a text"."""
    if isinstance(value, bool):
        words = "YES, on and true" if value else "NO, off and false"
        return f"; YAML reads {words} so, put it in quotes if it is a text"
    if isinstance(value, (int, float)):
        return f"; YAML reads it as a number, write {str(value)!r} if it is a text"
    return ""


def numbers_of_another_base(path: Path) -> list[str]:
    """What of a YAML file stands for another number than it seems to; empty if nothing does.

    Raises:
        OSError, PlainTextError: as of ``plain_scalars``.
    """
    if not _MAYBE_OTHER_BASE.search(path.read_bytes().decode("utf-8", "replace")):
        return []
    problems = []
    for keys, written in plain_scalars(path).items():
        if _OTHER_BASE.fullmatch(written):
            base = 60 if ":" in written else 8
            at = ": ".join(map(str, keys))
            problems.append(
                f"{path}: {at}: {written} is a number to base {base} in YAML; write it as a "
                f"decimal number, or as the text {written!r} in quotes"
            )
    return problems
