"""YAML texts that people read: remarks at the head, sections apart, common keys written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fuxictr_loopfm.files.atomic import write_text


def write_sections(
    path: Path,
    remarks: Sequence[str],
    sections: Mapping[str, Mapping[str, Any]],
    first: str | None = None,
) -> None:
    """Write a YAML file with remarks at its head and its sections apart.

    Args:
        path: the file.
        remarks: lines of the comment.
        sections: content by name.
        first: a section that has the keys of all that come after it. They are written as a merge of
            it (``<<: *first``) and the keys in which they differ.
    """
    lines = [f"# {remark}" for remark in remarks]
    shared: Mapping[str, Any] | None = None
    for name, section in sections.items():
        if shared is not None:
            changes = {key: value for key, value in section.items() if value != shared[key]}
            # PyYAML writes no merges: a quoted stand-in is written, and replaced.
            text = _dump({name: {"<<": f"@{first}", **changes}})
            text = text.replace(f"'<<': '@{first}'", f"<<: *{first}", 1)
        elif name == first:
            shared = section
            text = _dump({name: section}).replace(f"{name}:", f"{name}: &{name}", 1)
        else:
            text = _dump({name: section})
        lines += ["", text]
    write_text(path, "\n".join(lines) + "\n")


def _dump(section: Mapping[str, Any]) -> str:
    return yaml.safe_dump(
        section, sort_keys=False, default_flow_style=None, width=98, indent=4
    ).rstrip()
