"""What a finished file says of itself, in a small JSON file beside it that is written last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.files.atomic import write_json
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.files.seals import file_problem, file_record, with_seal


@dataclass(frozen=True)
class PartRecord:
    """One finished file: a part of an extraction log, or what lies beside such parts.

    Attributes:
        name: of the file without its suffix, for example "period-0005-0000".
        rows: events or samples in it.
        bytes: size of the file.
        sha256: of the file.
        meta: what determined its content (JSON values); a file with other meta is not reused.
        blocks: checksums of the file's blocks, see ``sealed``; "" in older records.
    """

    name: str
    rows: int
    bytes: int
    sha256: str
    meta: dict[str, Any]
    blocks: str = ""

    @classmethod
    def write(cls, path: Path, rows: int, meta: Mapping[str, Any]) -> PartRecord:
        """Describe a file that was just written, and keep the description beside it."""
        record = cls(name=path.stem, rows=rows, meta=dict(meta), **file_record(path))
        write_json(record_path(path), with_seal(asdict(record)))
        return record

    @classmethod
    def read(cls, path: Path) -> PartRecord:
        """The description beside a file; whether the file fits it is not checked.

        Raises:
            StoreError: it cannot be read, is no such description, or was altered.
        """
        plain = FORMAT.read_json(record_path(path))
        try:
            return cls.from_dict(plain)
        except (TypeError, ValueError) as error:
            raise StoreError(f"{record_path(path)}: {error}. {FORMAT.rebuild}") from error

    @classmethod
    def from_dict(cls, plain: Any) -> PartRecord:
        """Entries of later releases are left out.

        Raises:
            ValueError: an entry is missing or of another type.
        """
        known = [entry.name for entry in fields(cls)]
        try:
            record = cls(**{name: plain[name] for name in known if name in plain})
        except TypeError as error:
            raise ValueError(f"no record of a file: {error}") from error
        types = {"name": str, "rows": int, "bytes": int, "sha256": str, "meta": dict, "blocks": str}
        for name, kind in types.items():
            if not isinstance(getattr(record, name), kind):
                raise ValueError(f"{name}: expected {kind.__name__}, found {plain[name]!r}")
        return record

    def problem(self, path: Path) -> str | None:
        """Why a file is not the recorded one; None if it is."""
        return file_problem(path, asdict(self))


# Records have never named their schema; they are told by the file that they lie beside.
FORMAT = Format(
    "loopfm.part",
    (1, 0),
    StoreError,
    "Delete it and the file of the same name beside it and run the experiment again; they are "
    "rebuilt.",
    unsealed_entries=tuple(entry.name for entry in fields(PartRecord)),
    always_named=False,
)


def record_path(path: Path) -> Path:
    """Where a file's description is."""
    return path.with_suffix(".json")


def finished_file(path: Path, meta: Mapping[str, Any]) -> PartRecord | None:
    """The record of a whole, unaltered file that was made with ``meta``; None otherwise."""
    try:
        record = PartRecord.read(path)
        whole = record.problem(path) is None
    except (OSError, StoreError):
        return None
    return record if whole and record.meta == json.loads(json.dumps(meta)) else None
