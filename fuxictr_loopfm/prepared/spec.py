"""The written description of a prepared data set (``dataset.yaml``), as a frozen dataclass.

A prepared data set is what every stage reads: one row per impression in time order, cut into
periods. ``DatasetSpec`` states its columns, who may see them, and which periods train what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fuxictr_loopfm.errors import ConfigError, did_you_mean
from fuxictr_loopfm.files.description import Format
from fuxictr_loopfm.prepared.known import AFTER_LABEL_DELAY, mapping_problems
from fuxictr_loopfm.prepared.parts import (
    Column,
    Periods,
    SequenceColumn,
    is_integer,
    name_problems,
    parse_part,
    parse_parts,
)
from fuxictr_loopfm.spec import UNITS_PER_SECOND

SCHEMA = "loopfm.dataset"
VERSION = 1
FORMAT = Format(
    SCHEMA,
    VERSION,
    ConfigError,
    "Give a folder that `loopfm prepare` or a script of data_prep/ wrote.",
)
_DATASET_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*_s[0-9]+")


@dataclass(frozen=True)
class DatasetSpec:
    """All of ``dataset.yaml``. The writer fills ``rows`` and ``files``.

    ``known`` says when the value of each side column is known: ``at_impression``,
    ``after_label_delay`` (also if a side column is not named) or ``{after_seconds: N}``. Data sets
    of former releases have no ``known``: then side columns are known at the impression.

    Raises:
        ConfigError: with every problem found.
    """

    dataset_id: str
    label: str
    user: str
    item: str
    time_unit: str
    columns: tuple[Column, ...]
    periods: Periods
    period_rule: str
    source: str
    sequences: tuple[SequenceColumn, ...] = ()
    item_columns: tuple[str, ...] = ()
    side_columns: tuple[str, ...] = ()
    protocol: str = "stream"
    rows: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        problems = [
            *self._header_problems(),
            *(problem for column in self.columns for problem in column.problems()),
            *(problem for sequence in self.sequences for problem in sequence.problems()),
            *self.periods.problems(),
            *self._reference_problems(),
            *mapping_problems(self.known, self.side_columns),
        ]
        if problems:
            raise ConfigError(problems)

    def columns_of(self, view: str) -> tuple[Column, ...]:
        """The feature columns that ``view`` (``teacher`` or ``vertical``) may see, in order."""
        return tuple(column for column in self.columns if view in column.views)

    @property
    def known_columns(self) -> dict[str, Any]:
        """When each side column is known; all others are known at the impression."""
        if self.known is None:
            return {}
        return {name: self.known.get(name, AFTER_LABEL_DELAY) for name in self.side_columns}

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and dictionaries, as written to ``dataset.yaml``."""
        plain = {key: _plain(item) for key, item in asdict(self).items()}
        if self.known is None:
            del plain["known"]
        return {**FORMAT.header, **plain}

    @classmethod
    def from_dict(cls, value: Any) -> DatasetSpec:
        """Parse what :meth:`to_dict` wrote.

        Raises:
            ConfigError: another schema or version, unknown or missing keys, or broken rules.
        """
        FORMAT.check(value)
        body = {key: item for key, item in value.items() if key not in ("schema", "version")}
        problems: list[str] = []
        for key, part in (("columns", Column), ("sequences", SequenceColumn)):
            if key in body:
                body[key] = parse_parts(part, body[key], key, problems)
        if "periods" in body:
            body["periods"] = parse_part(Periods, body["periods"], "periods", problems)
        spec = parse_part(cls, body, "dataset", problems)
        if problems or spec is None:
            raise ConfigError(problems)
        return spec

    def _header_problems(self) -> list[str]:
        found = []
        if not isinstance(self.dataset_id, str) or not _DATASET_ID.fullmatch(self.dataset_id):
            found.append(
                "dataset_id: expected letters, digits, '_' or '-' ending in _s1 (stream "
                f"protocol, version 1), found {self.dataset_id!r}"
            )
        if self.protocol != "stream":
            found.append(f"protocol: expected 'stream', found {self.protocol!r}")
        if self.time_unit not in UNITS_PER_SECOND:
            found.append(
                f"time_unit: expected one of {list(UNITS_PER_SECOND)}, found {self.time_unit!r}"
            )
        if not is_integer(self.rows) or self.rows < 0:
            found.append(f"rows: expected 0 or more, found {self.rows!r}")
        return found

    def _reference_problems(self) -> list[str]:
        features = {column.name: column for column in self.columns}
        found = name_problems("label", self.label)
        for name in self.side_columns:
            found += name_problems(f"side_columns: {name!r}", name)
        names = [self.label, *(column.name for column in self.columns), *self.side_columns]
        names += [sequence.name for sequence in self.sequences]
        for name in sorted({name for name in names if names.count(name) > 1}):
            found.append(f"{name!r} is used for more than one of label, columns and sequences")
        for key, name in (("user", self.user), ("item", self.item)):
            if name not in features and name not in self.side_columns:
                found.append(
                    f"{key}: {name!r} is neither a feature nor a side column"
                    + did_you_mean(name, [*features, *self.side_columns])
                )
        if not self.columns_of("vertical"):
            found.append("columns: the vertical view has no column")
        categorical = [name for name in features if features[name].type == "categorical"]
        for sequence in self.sequences:
            if sequence.of is not None and sequence.of not in categorical:
                found.append(
                    f"sequences: {sequence.name!r}: of: {sequence.of!r} is no categorical column"
                )
        ids = [column.name for column in self.columns_of("vertical")]
        ids = [name for name in ids if name in categorical]
        for name in self.item_columns:
            if name not in ids:
                found.append(
                    f"item_columns: {name!r} is no categorical column of the vertical view"
                    + did_you_mean(name, ids)
                )
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
