"""Change descriptions as another writer would have written them: with a seal that fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from fuxictr_loopfm.files.seals import with_seal, without_seal


def change_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Let ``change`` alter the entries of a JSON description, and seal it again."""
    value = without_seal(json.loads(path.read_text(encoding="utf-8")))
    change(value)
    path.write_text(json.dumps(with_seal(value)), encoding="utf-8")


def change_yaml(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """The same for YAML."""
    value = without_seal(yaml.safe_load(path.read_text(encoding="utf-8")))
    change(value)
    text = yaml.safe_dump(with_seal(value), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
