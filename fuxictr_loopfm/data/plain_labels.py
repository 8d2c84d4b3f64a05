"""Looks at the labels of a plain data set before anything is encoded.

FuxiCTR fills a missing label with 0 and trains a classifier on any number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from fuxictr_loopfm.data.columns import ColumnDict, ColumnPlan
from fuxictr_loopfm.data.plain_files import as_text, source_of
from fuxictr_loopfm.errors import DataError

BINARY = "binary_classification"
_SHOWN = 5
_MISSING = "Give every row a label, or leave the row out."
_NOT_BINARY = "Turn the labels into 0 and 1."
_NO_NUMBER = "Correct the labels."


def binary_labels(params: Mapping[str, Any], plan: ColumnPlan) -> list[str]:
    """Names of the labels that must be 0 or 1: those of binary classification, the default.

    Args:
        params: ``task`` is one task, or one for each label.
        plan: the columns.
    """
    task = params.get("task") or BINARY
    tasks = task if isinstance(task, (list, tuple)) else [task] * len(plan.labels)
    return [
        label["name"] for label, each in zip(plan.labels, tasks, strict=False) if each == BINARY
    ]


def require_labels(
    files: Mapping[str, list[tuple[Path, pl.LazyFrame]]], plan: ColumnPlan, binary: list[str]
) -> None:
    """Refuse labels that are missing or no number, and other ones than 0 and 1 where it says so.

    Args:
        files: the files of each split.
        plan: the columns. A label with ``fill_na`` may be missing.
        binary: labels that must be 0 or 1.

    Raises:
        DataError: with what is wrong in each file.
    """
    problems = [
        problem
        for split, tables in files.items()
        for label in plan.labels
        for path, table in tables
        for problem in _problems(table, label, label["name"] in binary, f"{path}: {split}_data")
    ]
    if problems:
        remedies = dict.fromkeys(remedy for _, remedy in problems)
        raise DataError("\n".join([*(text for text, _ in problems), " ".join(remedies)]))


def _problems(
    table: pl.LazyFrame, label: ColumnDict, is_binary: bool, where: str
) -> list[tuple[str, str]]:
    """What is wrong, and what to do about it."""
    name = source_of(label)
    schema = table.collect_schema()
    if name not in schema:
        return []  # said with all columns that are missing
    value = as_text(pl.col(name), schema[name])
    number = value.cast(pl.Float64, strict=False)
    is_missing = pl.col(name).is_null() | (number.is_nan() & number.is_not_null())
    right = number.is_in([0.0, 1.0]) if is_binary else number.is_finite()
    rows = table.select(
        value=value,
        number=number.fill_nan(None),
        missing=is_missing,
        wrong=~is_missing & ~right.fill_null(False),
    ).with_row_index("row")
    expected = f"{where}: {label['name']}: expected {'0 or 1' if is_binary else 'numbers'}, found "
    problems = []
    if label.get("fill_na") is None:
        first, count = _first(rows, "missing")
        if count:
            found = f"none in data row {first['row'] + 1} ({count} such rows)"
            problems.append((expected + found, _MISSING))
    first, count = _first(rows, "wrong")
    if count:
        found = repr(first["value"])
        if first["number"] is not None:
            numbers = rows.select(pl.col("number").drop_nulls().unique().sort()).collect()
            found = _listed(numbers["number"].to_list())
        found += f", the first wrong one in data row {first['row'] + 1} ({count} such rows)"
        problems.append((expected + found, _NOT_BINARY if is_binary else _NO_NUMBER))
    return problems


def _first(rows: pl.LazyFrame, kind: str) -> tuple[dict[str, Any], int]:
    """The first of these rows, and how many there are."""
    found = rows.filter(pl.col(kind))
    count = found.select(pl.len()).collect().item()
    return (found.head(1).collect().row(0, named=True) if count else {}), count


def _listed(numbers: list[float]) -> str:
    """Distinct numbers in order, the middle of many left out."""
    texts = [f"{number:g}" for number in numbers]
    if len(texts) > _SHOWN:
        texts = [*texts[: _SHOWN - 2], "...", texts[-1]]
    return f"[{', '.join(texts)}]"
