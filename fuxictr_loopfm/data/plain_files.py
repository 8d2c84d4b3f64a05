"""Raw csv and parquet files of a plain data set as tables whose ids are exact.

A parquet file has types of its own: pandas writes the integer ids of one file as floats as soon as
one of them is missing. So every id is brought to one form: whole numbers are integers, text stays
text, and what is not exact is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from fuxictr_loopfm.data.columns import ColumnDict, ColumnPlan
from fuxictr_loopfm.data.plain_csv import require_one_row_a_line
from fuxictr_loopfm.errors import DataError

_POLARS_TYPES: dict[str, type[pl.DataType]] = {
    "str": pl.String,
    "int": pl.Int64,
    "float": pl.Float64,
}
_EXPECTED = {
    "str": "text, integers, or floats that hold integers exactly (below 2^53; float32: 2^24)",
    "int": "integers of 64 bits, or floats that hold them exactly (below 2^53; float32: 2^24)",
    "float": "numbers that a float64 holds exactly (integers below 2^53)",
}
# Between the items of a list. FuxiCTR splits texts, and an item may hold any printed splitter.
_LIST_SPLITTER = "\x1f"
_COPY = re.compile(r"copy_from\((.+)\)")


class PlainFiles:
    """The files of all splits.

    Args:
        plan: the columns.
        sources: the files of each split.
        data_format: csv or parquet.

    Attributes:
        plan: the columns; those whose files hold lists have the splitter of this module.
        files: one table per file, by split.
    """

    def __init__(
        self, plan: ColumnPlan, sources: Mapping[str, list[Path]], data_format: str
    ) -> None:
        self._parquet = data_format == "parquet"
        self._columns = _columns_by_source(plan)
        self.files = {
            split: [(path, self._scan(path)) for path in paths] for split, paths in sources.items()
        }
        self._lists = self._list_columns()
        self.plan = replace(
            plan,
            encoded=tuple(
                {**column, "splitter": _LIST_SPLITTER}
                if column["type"] == "sequence" and source_of(column) in self._lists
                else column
                for column in plan.encoded
            ),
        )

    def table(self, split: str) -> pl.LazyFrame:
        """All rows of a split, its files one after the other.

        Raises:
            DataError: an id is not exact, or is no value of its column's dtype.
        """
        files = self.files[split]
        if not self._parquet:
            return pl.concat([table.select(self._names(table)) for _, table in files])
        return pl.concat(
            [self._typed(path, table) for path, table in files], how="vertical_relaxed"
        )

    def _scan(self, path: Path) -> pl.LazyFrame:
        if self._parquet:
            return pl.scan_parquet(path)
        require_one_row_a_line(path, self._columns)
        # FuxiCTR's own reader passes a keyword that polars 2 has removed.
        dtypes = {name: _POLARS_TYPES[c["dtype"]] for name, c in self._columns.items()}
        return pl.scan_csv(path, schema_overrides=dtypes)

    def _names(self, table: pl.LazyFrame) -> list[str]:
        """Columns of a file that are read; what is in the others does not matter."""
        schema = table.collect_schema()
        return [name for name in self._columns if name in schema]

    def _list_columns(self) -> set[str]:
        """Columns that hold lists in any file."""
        if not self._parquet:
            return set()
        tables = [table for files in self.files.values() for _, table in files]
        return {
            name
            for table in tables
            for name, kind in table.collect_schema().items()
            if isinstance(kind, (pl.List, pl.Array)) and name in self._columns
        }

    def _typed(self, path: Path, table: pl.LazyFrame) -> pl.LazyFrame:
        """The columns that are read, each in the one form that all files share."""
        schema = table.collect_schema()
        values = []
        for name in self._names(table):
            column, kind = self._columns[name], schema[name]
            _require_one_value(path, column, kind)
            if isinstance(kind, (pl.List, pl.Array)):
                values.append(_joined(path, table, name, kind))
            elif "type" not in column or column["type"] == "numeric":
                values.append(_number(pl.col(name), kind, column["dtype"]))
            else:
                dtype = "str" if column["type"] == "sequence" else column["dtype"]
                kept = _exact(pl.col(name), kind, dtype)
                _require_exact(path, table.select(pl.col(name)), name, kind, dtype)
                values.append(_tokens(kept, column) if name in self._lists else kept)
        return table.select(values)


def _require_one_value(path: Path, column: ColumnDict, kind: pl.DataType) -> None:
    """Refuse a column of several values a row that is no sequence."""
    if kind.is_nested() and (isinstance(kind, pl.Struct) or column.get("type") != "sequence"):
        raise DataError(
            f"{path}: column {source_of(column)}: expected one value a row for type "
            f"{column.get('type', 'label')}, found {kind}. Give lists type: sequence, or write one "
            "value a row."
        )


def source_of(column: Mapping[str, object]) -> str:
    """The column of the file that a feature or label is read from."""
    copied = _COPY.fullmatch(str(column.get("preprocess", "")))
    return copied[1] if copied else str(column["name"])


def as_text(values: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """The texts of a column that keeps each of them once, whose numbers mean nothing."""
    return values.cast(pl.String) if isinstance(kind, (pl.Categorical, pl.Enum)) else values


def _columns_by_source(plan: ColumnPlan) -> dict[str, ColumnDict]:
    """What describes each column of the files: its own entry before one that copies it."""
    every = (*plan.labels, *plan.encoded)
    copies = {source_of(column): column for column in every if "preprocess" in column}
    return copies | {c["name"]: c for c in every if "preprocess" not in c}


def _number(values: pl.Expr, kind: pl.DataType, dtype: str) -> pl.Expr:
    """A feature or label that is a number; integers and floats stay as they are."""
    wanted = _POLARS_TYPES[dtype]
    if kind == pl.String or isinstance(kind, (pl.Categorical, pl.Enum)):
        return as_text(values, kind).replace("", None).cast(wanted)
    return values.cast(wanted) if kind.is_decimal() or kind in (pl.Boolean, pl.Null) else values


def _exact(values: pl.Expr, kind: pl.DataType, dtype: str) -> pl.Expr:
    """Ids in the type of ``dtype``; null where that cannot be done exactly."""
    if kind.is_float():
        return _exact_floats(values.fill_nan(None), kind, dtype)
    if kind.is_decimal() and dtype != "float":
        text = values.cast(pl.String)
        values = text.str.replace(r"\.?0+$", "") if getattr(kind, "scale", 0) else text
    elif kind.is_integer() and dtype == "float":
        values = pl.when(values.cast(pl.Int128).abs() < 2**53).then(values)
    return as_text(values, kind).cast(_POLARS_TYPES[dtype], strict=False)


def _exact_floats(values: pl.Expr, kind: pl.DataType, dtype: str) -> pl.Expr:
    if dtype == "float":
        return values.cast(pl.Float64)
    exact = values.abs() < (2**24 if kind == pl.Float32 else 2**53)
    whole = exact & (values == values.floor())
    integers = pl.when(whole).then(values).cast(pl.Int64)
    if dtype == "int":
        return integers
    # Other numbers, such as half stars, are categories by their digits.
    return pl.when(whole).then(integers.cast(pl.String)).when(exact).then(values.cast(pl.String))


def _loses(kind: pl.DataType, dtype: str) -> bool:
    """Can values of this type be more than ``dtype`` holds? Then they are looked at."""
    if dtype == "str":
        is_plain = kind.is_integer() or kind.is_temporal() or kind in (pl.Boolean, pl.Null)
        return not (is_plain or isinstance(kind, (pl.String, pl.Categorical, pl.Enum)))
    if dtype == "int" and kind.is_integer():
        return kind in (pl.UInt64, pl.Int128, pl.UInt128)
    return not (kind == pl.Boolean or (dtype == "float" and kind.is_float()))


def _require_exact(
    path: Path, values: pl.LazyFrame, name: str, kind: pl.DataType, dtype: str
) -> None:
    """Refuse ids that are not exact.

    Args:
        path: the file.
        values: the column alone; for lists, one item a row and their row as ``row``.
        name: the column.
        kind: its type, or that of the items.
        dtype: as configured.
    """
    if not _loses(kind, dtype):
        return
    if "row" not in values.collect_schema():
        values = values.with_row_index("row")
    given = pl.col(name).fill_nan(None) if kind.is_float() else pl.col(name)
    lost = given.is_not_null() & _exact(pl.col(name), kind, dtype).is_null()
    wrong = values.filter(lost)
    count = wrong.select(pl.len()).collect().item()
    if not count:
        return
    row, found = wrong.select("row", name).head(1).collect().row(0)
    raise DataError(
        f"{path}: column {name} ({kind}), dtype {dtype}: expected {_EXPECTED[dtype]}, found "
        f"{found!r} in data row {row + 1} ({count} such rows). Write the column as integers or "
        "text; for text give it dtype: str."
    )


def _joined(path: Path, table: pl.LazyFrame, name: str, kind: pl.DataType) -> pl.Expr:
    """Lists as texts that hold each item as it is."""
    inner = kind.inner if isinstance(kind, (pl.List, pl.Array)) else kind
    item = inner if isinstance(inner, pl.DataType) else inner()
    values = pl.col(name).cast(pl.List(item))
    items = table.select(values).with_row_index("row").explode(name)
    _require_exact(path, items, name, item, "str")
    texts = values.list.eval(_exact(pl.element(), item, "str"))
    if item == pl.String:
        _require_no_splitter(path, items, name)
    return texts.list.join(_LIST_SPLITTER).alias(name)


def _require_no_splitter(path: Path, items: pl.LazyFrame, name: str) -> None:
    wrong = items.filter(pl.col(name).str.contains(_LIST_SPLITTER, literal=True)).head(1).collect()
    if len(wrong):
        row, found = wrong.select("row", name).row(0)
        raise DataError(
            f"{path}: column {name}: expected items without the control character U+001F, found "
            f"{found!r} in data row {row + 1}. Take it out of the items."
        )


def _tokens(texts: pl.Expr, column: ColumnDict) -> pl.Expr:
    """Texts in the form of lists, because another file has lists in this column."""
    return texts.str.replace_all(column.get("splitter", "^"), _LIST_SPLITTER, literal=True)
