"""Reads the paper's tables as experiments: one YAML file each, checked before any run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fuxictr_loopfm.analysis.transfer_ratio import INITIAL_LAUNCH, UPGRADE
from fuxictr_loopfm.config.folders import read_yaml
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.evidence.benchmark.configs import ModelName

# Protocols by the names that run records give them.
PROTOCOLS = {"stream": False, "stream, early stopping": True}
RATIO_KINDS = (UPGRADE, INITIAL_LAUNCH)
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Figure:
    """What the paper reports of a row and a model; None where its text lost the value.

    Attributes:
        auc, logloss: as printed.
        auc_std: over the paper's seeds.
        d_auc: printed difference to the table's baseline, where the values themselves are lost.
    """

    auc: float | None = None
    logloss: float | None = None
    auc_std: float | None = None
    d_auc: float | None = None


@dataclass(frozen=True)
class TableRow:
    """One line of a table: what is trained, and what the paper found.

    Attributes:
        name: of the method; equal names mean equal settings, in all tables.
        set: ``loopfm_*`` keys and model params that differ from the data set's configuration.
        group: heading the row stands under.
        label: what is shown instead of the name.
        teacher: params of the teacher that differ; ``features: vertical`` takes away the columns
            that only the teacher sees.
        baseline: row to compare with instead of the table's.
        paper_name: what the paper calls the row.
        paper: figures by vertical model.
        oracle: needs the teacher's output on the current impression when it is served.
        control: should lose the gain.
        ours: not in the paper.
        note: shown beside the row.
    """

    name: str
    set: dict[str, Any] = field(default_factory=dict)
    group: str = ""
    label: str = ""
    teacher: dict[str, Any] = field(default_factory=dict)
    baseline: str = ""
    paper_name: str = ""
    paper: dict[str, Any] = field(default_factory=dict)
    oracle: bool = False
    control: bool = False
    ours: bool = False
    note: str = ""

    @cached_property
    def slug(self) -> str:
        """The name as the end of an expid."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")

    def figure(self, vertical: str) -> Figure | None:
        """What the paper reports for a vertical model, None if it has no such run."""
        return Figure(**self.paper[vertical]) if vertical in self.paper else None


@dataclass(frozen=True)
class Vertical:
    """A vertical model of a table.

    Attributes:
        name: in records and tables, for example ``DMIN:emb2``.
        model: ``DeepFM`` or ``DeepFM:small``, as for a benchmark.
        size: ``teacher`` gives it the embedding width and the hidden units of the teacher.
        own_sequences: False takes its own behaviour sequences away.
        set: params that differ from its configuration.
    """

    name: str
    model: str
    size: str = ""
    own_sequences: bool = True
    set: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RatioPair:
    """A transfer ratio between two rows, see ``analysis.transfer_ratio``.

    Attributes:
        kind: ``upgrade`` or ``initial launch``.
        start, end: rows that give the first and the second vertical model.
        start_teacher: row whose teacher is FM1, by default that of ``start``.
    """

    name: str
    kind: str
    start: str
    end: str
    start_teacher: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper (arXiv:2605.29280).

    Attributes:
        number: 1 to 11.
        paper_dataset: what the paper ran it on.
        protocol: a key of ``PROTOCOLS``.
        vertical_models: the models it is run with unless others are asked for.
        baseline: row that differences are taken to.
        history: settings of every row that has a history.
        notes: what a reader of the paper's figures must know.
        transfer_ratio: pairs of rows; their test predictions are kept.
    """

    number: int
    title: str
    paper_dataset: str
    protocol: str
    vertical_models: tuple[Vertical, ...]
    baseline: str
    rows: tuple[TableRow, ...]
    history: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    transfer_ratio: tuple[RatioPair, ...] = ()

    @property
    def file_name(self) -> str:
        """Name of its files without suffix."""
        return f"table_{self.number:02d}"

    @property
    def ratio_file(self) -> str:
        """Name of the file with its transfer ratios."""
        return f"{self.file_name}_transfer_ratio.json"

    def runs(self) -> list[TableRow]:
        """The rows that need a run of their own: a name that comes twice is one run."""
        return list({row.name: row for row in reversed(self.rows)}.values())[::-1]

    def row(self, name: str, group: str = "") -> TableRow:
        """A row by name, preferably the one in ``group``."""
        found = [row for row in self.rows if row.name == name]
        for row in found:
            if row.group == group:
                return row
        return found[0]

    def baseline_of(self, row: TableRow) -> TableRow | None:
        """The row that ``row`` is compared with; None for the baseline itself."""
        name = row.baseline or self.baseline
        return None if name == row.name else self.row(name, row.group)

    def settings(self, row: TableRow) -> dict[str, Any]:
        """``loopfm_*`` keys and model params of a row."""
        history = self.history if row.set.get("loopfm_history") is not None else {}
        return {"loopfm_validation": PROTOCOLS[self.protocol], **history, **row.set}

    def verticals(self, models: Sequence[str] | None) -> list[Vertical]:
        """The vertical models to run: the table's, or those of ``models``.

        Args:
            models: names of the table's own, model classes (all variants that the table has of
                one), or others such as ``DeepFM:small``.

        Raises:
            ConfigError: a name with an unknown size.
        """
        if not models:
            return list(self.vertical_models)
        chosen: dict[str, Vertical] = {}
        for name in models:
            found = [v for v in self.vertical_models if v.name == name]
            if not found:
                found = [v for v in self.vertical_models if v.model == name]
            if not found:
                found = [Vertical(name, str(ModelName.parse(name)))]
            for vertical in found:
                chosen[vertical.name] = vertical
        return list(chosen.values())


def table_numbers(folder: Path) -> list[int]:
    """Numbers of the tables that ``folder`` defines, ascending."""
    return sorted(int(path.stem[-2:]) for path in folder.glob("table_[0-9][0-9].yaml"))


def load_table(folder: Path, number: int) -> PaperTable:
    """The definition of a table.

    Args:
        folder: of ``table_01.yaml`` and so on.
        number: of the table in the paper.

    Raises:
        ConfigError: no such table, or one whose definition contradicts itself; all problems.
    """
    path = folder / f"table_{number:02d}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"TABLE={number}: expected one of {table_numbers(folder)}, found no such table in "
            f"{folder}. Choose another --table."
        )
    return table_from_dict({"number": number, **read_yaml(path)}, str(path))


def table_from_dict(value: Mapping[str, Any], where: str) -> PaperTable:
    """Build and check a table.

    Args:
        value: the entries of its YAML file, and its ``number``.
        where: names the file in messages.

    Raises:
        ConfigError: all problems found.
    """
    problems: list[str] = []
    parts = dict(value)
    verticals = [
        {"name": item, "model": item} if isinstance(item, str) else item
        for item in _list(parts, "vertical_models")
    ]
    built = {
        "vertical_models": _built(Vertical, verticals, f"{where}: vertical_models", problems),
        "rows": _built(TableRow, _list(parts, "rows"), f"{where}: rows", problems),
        "transfer_ratio": _built(
            RatioPair, _list(parts, "transfer_ratio"), f"{where}: transfer_ratio", problems
        ),
        "notes": tuple(map(str, _list(parts, "notes"))),
    }
    tables = _built(PaperTable, [parts | built], where, problems)
    if not problems:
        problems += [f"{where}: {text}" for text in _problems(tables[0])]
    if problems:
        raise ConfigError(problems)
    return tables[0]


def _list(parts: Mapping[str, Any], key: str) -> list[Any]:
    """An entry as a list: nothing is an empty one, a single value its only item."""
    found = parts.get(key)
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def _built(
    kind: type[_Part], values: Sequence[Any], where: str, problems: list[str]
) -> tuple[_Part, ...]:
    """Dataclasses from mappings; keys that are unknown or missing become problems."""
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    needed = set()
    for key, item in known.items():
        if item.default is MISSING and item.default_factory is MISSING:
            needed.add(key)
    made = []
    for value in values:
        if not isinstance(value, dict):
            problems.append(f"{where}: expected a mapping, found {value!r}")
            continue
        name = f"{where}: {value['name']}" if "name" in value else where
        wrong = [f"{name}: {key}: unknown, known: {sorted(known)}" for key in value.keys() - known]
        wrong += [f"{name}: {key}: missing" for key in sorted(needed - value.keys())]
        problems += wrong
        if not wrong:
            made.append(kind(**value))
    return tuple(made)


def _problems(table: PaperTable) -> Iterator[str]:
    """What contradicts itself in a definition; a dataclass alone would take it."""
    names = {row.name for row in table.rows}
    if table.protocol not in PROTOCOLS:
        yield f"protocol: expected one of {list(PROTOCOLS)}, found {table.protocol!r}"
    if not table.vertical_models:
        yield "vertical_models: expected at least one, found none"
    if table.baseline not in names:
        yield f"baseline: expected the name of a row, found {table.baseline!r}"
    for vertical in table.vertical_models:
        if vertical.size not in ("", "teacher"):
            yield f"{vertical.name}: size: expected 'teacher' or none, found {vertical.size!r}"
    for pair in table.transfer_ratio:
        if pair.kind not in RATIO_KINDS:
            yield f"{pair.name}: kind: expected one of {list(RATIO_KINDS)}, found {pair.kind!r}"
        if pair.kind == INITIAL_LAUNCH and not pair.start_teacher:
            yield f"{pair.name}: start_teacher: expected the row whose teacher is FM1, found none"
        for name in filter(None, (pair.start, pair.end, pair.start_teacher)):
            if name not in names:
                yield f"{pair.name}: expected the name of a row, found {name!r}"
    yield from _row_problems(table, names)


def _row_problems(table: PaperTable, names: set[str]) -> Iterator[str]:
    slugs = {row.slug: row.name for row in table.rows}
    seen: set[tuple[str, str]] = set()
    verticals = {vertical.name for vertical in table.vertical_models}
    for row in table.rows:
        if (row.group, row.name) in seen:
            yield f"{row.name}: stands twice under {row.group!r}"
        seen.add((row.group, row.name))
        first = table.row(row.name)
        if (row.set, row.teacher) != (first.set, first.teacher):
            yield f"{row.name}: two rows of this name have different settings"
        if slugs[row.slug] != row.name:
            yield f"{row.name} and {slugs[row.slug]}: names that differ in signs only"
        if row.baseline and row.baseline not in names:
            yield f"{row.name}: baseline: expected the name of a row, found {row.baseline!r}"
        for vertical, figure in row.paper.items():
            if vertical not in verticals:
                yield f"{row.name}: paper: {vertical} is none of {sorted(verticals)}"
            unknown = set(figure) - {item.name for item in fields(Figure)}
            if unknown:
                yield f"{row.name}: paper: {vertical}: unknown {sorted(unknown)}"
