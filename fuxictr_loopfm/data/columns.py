"""What ``feature_cols`` and ``label_col`` of FuxiCTR params say, read here and nowhere else.

FuxiCTR evaluates ``dtype`` as Python and fails late and namelessly on a missing key; this module
reports every problem of the configuration at once instead.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fuxictr_loopfm.data.column_rules import (
    HISTORY_TYPE,
    column_problems,
    dtype_problems,
    sharing_problems,
)
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.scalars import meant_bool, meant_text

ColumnDict = dict[str, Any]
# Meta columns that the encoding of a prepared log adds where ``feature_cols`` has none.
EVENT_ID, DEFAULT_GROUP = "event_id", "group_id"


@dataclass(frozen=True)
class ColumnPlan:
    """The columns of one encoded data set, name lists expanded and inactive columns dropped.

    ``active: false`` leaves a column out, as in FuxiCTR. FuxiCTR takes other values than true and
    false for inactive in one place and for active in the next, so they are refused.

    Attributes:
        encoded: columns for FuxiCTR's feature processor, in order.
        histories: ``loopfm_sequence`` entries; they go to the feature map as they are.
        labels: label columns.
        order: names of all features in the order of the configuration.
    """

    encoded: tuple[ColumnDict, ...]
    histories: tuple[ColumnDict, ...]
    labels: tuple[ColumnDict, ...]
    order: tuple[str, ...]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ColumnPlan:
        """Read ``feature_cols`` and ``label_col`` of FuxiCTR params.

        Raises:
            ConfigError: with every problem found.
        """
        where = str(params.get("dataset_id"))
        features, problems = _expanded(params.get("feature_cols"), f"{where}: feature_cols")
        labels, label_problems = _expanded(params.get("label_col"), f"{where}: label_col")
        problems += label_problems
        for column in features:
            if column.get("type") != HISTORY_TYPE:
                problems += column_problems(column, f"{where}: feature_cols: {column['name']}")
        for column in labels:
            problems += dtype_problems(column, f"{where}: label_col: {column['name']}")
        names = [column["name"] for column in (*features, *labels)]
        problems += [
            f"{where}: column {name} is described {names.count(name)} times, expected once"
            for name in sorted({name for name in names if names.count(name) > 1})
        ]
        problems += sharing_problems(features, where)
        if problems:
            raise ConfigError(problems)
        return cls(
            encoded=tuple(c for c in features if c["type"] != HISTORY_TYPE),
            histories=tuple(c for c in features if c["type"] == HISTORY_TYPE),
            labels=tuple(labels),
            order=tuple(c["name"] for c in features),
        )

    @property
    def types(self) -> dict[str, str]:
        """FuxiCTR type of each feature by name, with the histories, in configuration order."""
        found = {column["name"]: str(column["type"]) for column in (*self.encoded, *self.histories)}
        return {name: found[name] for name in self.order}

    def names(self, *types: str) -> tuple[str, ...]:
        """Names of the features without the histories, in order.

        Args:
            types: only features of these types; default all.
        """
        return tuple(c["name"] for c in self.encoded if not types or c["type"] in types)

    def history_entities(self, default: str) -> dict[str, str]:
        """For each history the column that says whose past events it holds, such as the user.

        Args:
            default: the column of a history that names none (``key``).
        """
        return {c["name"]: str(c.get("key") or default) for c in self.histories}


def active_columns(value: Any, where: str) -> list[ColumnDict]:
    """The columns of a ``feature_cols`` or ``label_col`` one by one, without the inactive ones.

    Args:
        value: the entry, one column or a list of them.
        where: names it in messages.
    Raises:
        ConfigError: it is no list of columns with names, or an ``active`` is no boolean.
    """
    columns, problems = _expanded(value, where)
    if problems:
        raise ConfigError(problems)
    return columns


def with_histories(features: Mapping[str, Any], plan: ColumnPlan) -> dict[str, Any]:
    """The features of an encoded view together with the histories of a configuration.

    Several configurations share a view, so its feature map holds no history.

    Args:
        features: FuxiCTR's description of each feature by name. Histories among them, which views
            of earlier releases have, are left out.
        plan: the columns of the configuration.
    Returns:
        The features in the order of the configuration, then those that it does not name.
    """
    found = {name: spec for name, spec in features.items() if spec["type"] != HISTORY_TYPE}
    for column in plan.histories:
        found[column["name"]] = {key: column[key] for key in column if key != "name"}
    names = [*plan.order, *(name for name in found if name not in plan.order)]
    return {name: found[name] for name in names}


def _expanded(value: Any, where: str) -> tuple[list[ColumnDict], list[str]]:
    """(active columns, problems with ``active``)."""
    entries = [value] if isinstance(value, Mapping) else value
    if not isinstance(entries, (list, tuple)) or not entries:
        raise ConfigError(f"{where}: expected a list of columns, found {value!r}")
    columns: list[ColumnDict] = []
    problems: list[str] = []
    for entry in entries:
        if not isinstance(entry, Mapping) or "name" not in entry:
            raise ConfigError(f"{where}: expected a column with a name, found {entry!r}")
        names = entry["name"] if isinstance(entry["name"], (list, tuple)) else [entry["name"]]
        active = entry.get("active", True)
        shown = ", ".join(map(str, names))
        if not isinstance(active, bool):
            hint = meant_bool(active)
            problems.append(
                f"{where}: {shown}: active: expected true or false, found {active!r}{hint}"
            )
        problems += [
            f"{where}: {shown}: name: expected a text, found {name!r}{meant_text(name)}"
            for name in names
            if not isinstance(name, str)
        ]
        if active is not False:
            columns += [
                {"active": True, **copy.deepcopy(dict(entry)), "name": str(name)} for name in names
            ]
    return columns, problems
