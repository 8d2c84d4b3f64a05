"""Many run records in one small text: what most of them share is written once, in the first line.

A record repeats its whole configuration, so a thousand of them take megabytes and differ in little.
A packed file is a ``.jsonl`` whose first line is a header with the shared values; every further
line holds what its record has of its own. Nothing is lost: a value is shared only if every record
has its key, so a line and the header together are the record.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.description import Format

SCHEMA = "loopfm.runs"
VERSION = 1
FORMAT = Format(SCHEMA, VERSION, DataError, "Give other records, or run again.")


def packed(records: Sequence[Mapping[str, Any]]) -> str:
    """The text of a packed file.

    Args:
        records: at least one, as plain data, see ``RunRecord.to_dict``.
    """
    shared: dict[str, Any] = {}
    for name in sorted(set(records[0]).intersection(*records[1:])):
        values = [record[name] for record in records]
        if all(isinstance(value, dict) for value in values):
            shared[name] = _most_common(values)
        elif not any(isinstance(value, dict) for value in values):
            shared |= _most_common([{name: value} for value in values])
    lines: list[Any] = [{**FORMAT.header, "shared": shared}]
    lines += [_own(record, shared) for record in records]
    return "".join(f"{_text(line)}\n" for line in lines)


def is_header(value: Any, place: str) -> bool:
    """True for the parsed first line of a packed file.

    Args:
        value: the line.
        place: names it in messages.

    Raises:
        DataError: it is one of another version.
    """
    if not isinstance(value, Mapping) or value.get("schema") != SCHEMA:
        return False
    FORMAT.check(value, place)
    return isinstance(value.get("shared"), Mapping)


def merged(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The record of which a line of a packed file holds ``own``."""
    record = {**shared, **own}
    for name, value in shared.items():
        if isinstance(value, Mapping) and isinstance(record[name], Mapping):
            # Sorted as in a record's own file: texts list an environment in its order.
            record[name] = dict(sorted({**value, **record[name]}.items()))
    return record


def _most_common(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The items that more than half of ``values`` hold, of the keys that all of them have."""
    found = {}
    for name in set(values[0]).intersection(*values[1:]):
        text, count = Counter(_text(value[name]) for value in values).most_common(1)[0]
        if 2 * count > len(values):
            found[name] = json.loads(text)
    return found


def _own(record: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(shared.get(name), dict):
            inner = _differing(value, shared[name])
            own |= {name: inner} if inner else {}
        else:
            own |= _differing({name: value}, shared)
    return own


def _differing(value: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    # Compared as text, because 1, 1.0 and True are equal and not the same.
    return {
        name: item
        for name, item in value.items()
        if name not in shared or _text(shared[name]) != _text(item)
    }


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
