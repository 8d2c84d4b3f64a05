"""The spec file of ``custom.py`` as a frozen dataclass; all problems are reported at once."""

from __future__ import annotations

import glob
import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from _custom_rules import (
    HistoryRule,
    KeepRule,
    LabelRule,
    PeriodRule,
    SideColumn,
    TimeRule,
    is_number,
)
from _custom_scalars import misread, quote_hint, with_scalars
from _text_files import QUOTING

from fuxictr_loopfm.errors import ConfigError, DataError, did_you_mean
from fuxictr_loopfm.files.plain_text import load_yaml, plain_scalars
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn
from fuxictr_loopfm.prepared.known import AT_IMPRESSION
from fuxictr_loopfm.prepared.parts import (
    MAX_PERIODS,
    is_integer,
    parse_part,
    parse_parts,
    short,
)

DUPLICATES = ("refuse", "drop", "keep")
NO_HISTORY = "no_history"
# What may be done with rows that lack the column of a role, by the key of the spec.
MISSING = {
    "missing_user": ("refuse", "drop", NO_HISTORY),
    **{f"missing_{role}": ("refuse", "drop") for role in ("item", "time", "label", "group")},
}
_NAME_LISTS = ("vertical", "teacher_only", "numeric", "item_columns", "missing_values")
_MAPPINGS = ("buckets", "rename")
_PARTS = {"time": TimeRule, "label": LabelRule, "periods": PeriodRule, "history": HistoryRule}


@dataclass(frozen=True)
class CustomSpec:
    """A whole spec file. Column names are those after ``rename``."""

    dataset_id: str
    log: tuple[str, ...]
    user: str
    item: str
    time: TimeRule
    label: LabelRule
    vertical: tuple[str, ...]
    periods: PeriodRule
    teacher_periods: int
    teacher_only: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    buckets: dict[str, Any] = field(default_factory=dict)
    history: HistoryRule | None = None
    item_columns: tuple[str, ...] | None = None
    side_columns: tuple[SideColumn, ...] = ()
    group: str | None = None
    keep: tuple[KeepRule, ...] = ()
    duplicates: str = "refuse"
    missing_user: str = "refuse"
    missing_item: str = "refuse"
    missing_time: str = "refuse"
    missing_label: str = "refuse"
    missing_group: str = "refuse"
    missing_values: tuple[str, ...] | None = None
    quoting: str = "standard"
    rename: dict[str, str] = field(default_factory=dict)
    source: str = "private log"

    @property
    def features(self) -> tuple[str, ...]:
        """Feature columns of the teacher, those of the vertical model first."""
        return (*self.vertical, *self.teacher_only)

    @property
    def stored_aside(self) -> tuple[str, ...]:
        """Columns that are stored with each event and are no features."""
        names = [self.user, self.item, *([] if self.group is None else [self.group])]
        names = [name for name in names if name not in self.features]
        return tuple(dict.fromkeys([*names, *(side.column for side in self.side_columns)]))

    @property
    def user_key(self) -> str:
        """The column whose equal values are one user, with a history and a group of its own."""
        own = self.missing_user == NO_HISTORY and self.user in self.features
        return f"{self.user}_or_row" if own else self.user

    @property
    def used_columns(self) -> tuple[str, ...]:
        """Every column that is read, once, in order of first mention."""
        names = [self.user, self.item, self.time.column, self.label.column, *self.features]
        names += [*self.stored_aside, *(rule.column for rule in self.keep)]
        return tuple(dict.fromkeys(names))

    def problems(self) -> list[str]:
        """What is wrong with the values, beyond unknown and missing keys."""
        found = [*self.time.problems(), *self.label.problems(), *self.periods.problems()]
        found += [problem for rule in self.keep for problem in rule.problems()]
        found += [problem for side in self.side_columns for problem in side.problems()]
        found += self._period_problems()
        choices = {"duplicates": DUPLICATES, "quoting": QUOTING, **MISSING}
        for key, allowed in choices.items():
            value = getattr(self, key)
            if value not in allowed:
                found.append(f"{key}: expected one of {list(allowed)}, found {value!r}")
        if self.group is None and self.missing_group != "refuse":
            found.append("missing_group: expected a group, whose column it is about")
        if self.label.column in self.features:
            found.append(f"label: {self.label.column!r} must not be a feature")
        return found + self._number_problems()

    def _period_problems(self) -> list[str]:
        teacher, count = self.teacher_periods, self.periods.count
        if not is_integer(teacher) or not 1 <= teacher <= MAX_PERIODS - 2:
            return [f"teacher_periods: expected 1 or more, found {teacher!r}"]
        if self.periods.kind == "day" and self.time.unit == "ordinal":
            return ["periods: kind day needs a clock but time: unit is ordinal; use kind chunks"]
        if isinstance(count, int) and count < teacher + 2:
            expected = f"teacher_periods + 2 = {teacher + 2} or more"
            return [f"periods: count: expected {expected}, found {count}"]
        return []

    def _number_problems(self) -> list[str]:
        found = [
            f"{key}: {name!r} is no feature{did_you_mean(name, self.features)}"
            for key, names in (("numeric", self.numeric), ("buckets", tuple(self.buckets)))
            for name in names
            if name not in self.features
        ]
        for name, edges in self.buckets.items():
            if name in self.numeric:
                found.append(f"{name!r} is both numeric and bucketed; choose one")
            if edges != "log2" and not _is_ascending(edges):
                found.append(
                    f"buckets: {name!r}: expected log2 or ascending numbers, found {edges!r}"
                )
        return found

    def describe_dataset(
        self, dataset_id: str, periods: Periods, rule: str, unit: str
    ) -> DatasetSpec:
        """The prepared data set's description.

        Raises:
            ConfigError: columns that do not fit together.
        """
        columns = [self._column(name, ("teacher", "vertical")) for name in self.vertical]
        columns += [self._column(name, ("teacher",)) for name in self.teacher_only]
        sequences: tuple[SequenceColumn, ...] = ()
        if self.history is not None:
            sequences = (SequenceColumn(self.history.name, self.item, self.history.max_len),)
        default = (self.item,) if self.item in self.vertical else ()
        aside = tuple(dict.fromkeys([self.user_key, *self.stored_aside]))
        aside = tuple(name for name in aside if name not in self.features)
        known = {side.column: side.known for side in self.side_columns}
        return DatasetSpec(
            dataset_id=dataset_id,
            label=self.label.name,
            user=self.user_key,
            item=self.item,
            time_unit=unit,
            columns=tuple(columns),
            sequences=sequences,
            item_columns=default if self.item_columns is None else self.item_columns,
            side_columns=aside,
            periods=periods,
            period_rule=rule,
            source=self.source,
            known={name: known.get(name, AT_IMPRESSION) for name in aside} or None,
        )

    def _column(self, name: str, views: tuple[str, ...]) -> Column:
        if name in self.numeric:
            return Column(name, "numeric", "float", views)
        return Column(name, views=views)


def load_spec(path: Path) -> CustomSpec:
    """Read and check a spec file; relative log paths count from its folder.

    Raises:
        ConfigError: the file cannot be read, or with every problem found in it.
    """
    try:
        value = load_yaml(path)
        written = plain_scalars(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    problems: list[str] = []
    spec = _parse(value, written, problems)
    if spec is not None and not problems:
        problems = spec.problems()
    if spec is not None and not problems:
        try:
            # The number of days is not known yet; the smallest split checks all names now.
            smallest = Periods.split(spec.teacher_periods + 2, spec.teacher_periods)
            spec.describe_dataset(spec.dataset_id, smallest, "-", "ordinal")
        except ConfigError as error:
            problems = error.problems
    if problems or spec is None:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return replace(spec, log=tuple(_expand(path.parent, spec.log)))


def _parse(
    value: Any, written: dict[tuple[Any, ...], str], problems: list[str]
) -> CustomSpec | None:
    if not isinstance(value, dict):
        problems.append(f"expected a mapping of keys, found {short(value)}")
        return None
    body = dict(value)
    problems += misread(value, written)
    if isinstance(body.get("log"), str):
        body["log"] = [body["log"]]
    if isinstance(body.get("label"), str):
        body["label"] = {"column": body["label"], "name": body["label"]}
    for key in ("log", *_NAME_LISTS):
        if key in body and not _is_text_list(body[key]):
            hint = quote_hint(key, body[key], written)
            problems.append(f"{key}: expected a list of names, found {short(body[key])}{hint}")
    for key in ("user", "item", "group"):
        if key in body and not isinstance(body[key], str):
            hint = quote_hint(key, body[key], written)
            problems.append(f"{key}: expected a column name, found {short(body[key])}{hint}")
    for key in _MAPPINGS:
        if key in body and not isinstance(body[key], dict):
            problems.append(f"{key}: expected a mapping, found {short(body[key])}")
    for key, part in _PARTS.items():
        if key in body:
            body[key] = parse_part(part, body[key], key, problems)
    if "keep" in body:
        rules = with_scalars(body["keep"], written)
        body["keep"] = list(parse_parts(KeepRule, rules, "keep", problems))
    if isinstance(body.get("side_columns"), list):
        entries = [{"column": s} if isinstance(s, str) else s for s in body["side_columns"]]
        body["side_columns"] = list(parse_parts(SideColumn, entries, "side_columns", problems))
    elif "side_columns" in body:
        found = short(body["side_columns"])
        problems.append(f"side_columns: expected a list of names, found {found}")
    return parse_part(CustomSpec, body, "spec", problems)


def _expand(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    paths: list[str] = []
    for pattern in patterns:
        try:
            full = str(folder / Path(pattern).expanduser())
            found = sorted(glob.glob(full, recursive=True)) if glob.has_magic(pattern) else [full]
        except (RuntimeError, ValueError, OSError) as error:
            raise DataError(f"log: {short(pattern)}: cannot be looked up: {error}") from error
        if not found:
            raise DataError(f"log: no file matches {full}")
        paths += found
    return list(dict.fromkeys(paths))


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_ascending(edges: object) -> bool:
    return (
        isinstance(edges, list)
        and bool(edges)
        and all(is_number(edge) for edge in edges)
        and all(low < high for low, high in itertools.pairwise(edges))
    )
