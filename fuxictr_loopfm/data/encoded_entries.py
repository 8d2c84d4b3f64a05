"""What the entries of ``encoded.json`` may be, told before anything is done with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fuxictr_loopfm.prepared.parts import MAX_HISTORY, is_integer, short

# A file beside the manifest, never a path.
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def entry_problems(manifest: Mapping[str, Any]) -> list[str]:
    """What is wrong with the entries that are there; which must be there is not told."""
    rules: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "files": ("plain file names with their records", _is_files),
        "parts": ("plain file names with their first and last rows", _is_parts),
        "splits": ("names with their first and last rows", _is_ranges),
        "rows": ("a whole number of 0 or more", lambda value: is_integer(value) and value >= 0),
        "labels": ("a list of names", lambda value: bool(value) and _is_names(value)),
        "sequences": ("a list of names with max_len and padding", _is_sequences),
        "order": ("a list of names", _is_names),
        "prepared_dataset_id": ("a name", lambda value: isinstance(value, str)),
        "params": ("a mapping", lambda value: isinstance(value, Mapping)),
        "group_id": ("a name", lambda value: isinstance(value, str)),
        "view": ("a name", lambda value: isinstance(value, str)),
    }
    return [
        f"{name}: expected {expected}, found {short(manifest[name])}"
        for name, (expected, fits) in rules.items()
        if name in manifest and not fits(manifest[name])
    ]


def _is_files(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _FILE.fullmatch(name) and isinstance(record, Mapping) for name, record in value.items()
    )


def _is_ranges(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(rows, (list, tuple))
        and len(rows) == 2
        and all(map(is_integer, rows))
        and 0 <= rows[0] <= rows[1]
        for rows in value.values()
    )


def _is_parts(value: Any) -> bool:
    return _is_ranges(value) and all(map(_FILE.fullmatch, value))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_sequences(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, Mapping)
        and isinstance(entry.get("name"), str)
        and is_integer(entry.get("max_len"))
        and 0 <= entry["max_len"] <= MAX_HISTORY
        and entry.get("padding") in ("pre", "post")
        for entry in value
    )
