"""Generated configuration folders, in which the user's own edits are kept."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from fuxictr_loopfm.files.atomic import atomic_path, locked, scratch_dir, sha256_file, write_json

NOTE = ".generated.json"


def generate(folder: Path, write: Callable[[Path], object]) -> None:
    """Write the files of a configuration folder, but for those that were edited since.

    Args:
        folder: the configuration folder; made if missing.
        write: writes the files into a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder), scratch_dir(folder) as scratch:
        write(scratch)
        note = folder / NOTE
        generated = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        for new in sorted(scratch.iterdir()):
            path, digest = folder / new.name, sha256_file(new)
            known = (None, digest, generated.get(new.name))
            if (sha256_file(path) if path.is_file() else None) not in known:
                logging.info("%s was edited and stays as it is", path)
                continue
            with atomic_path(path) as temporary:
                os.replace(new, temporary)
            generated[new.name] = digest
        write_json(note, generated)
