"""Every role of a column in every type and format, with and without a missing value.

One run gives all roles a column of one type. What must come out is derived from the rows that
were generated, by plain Python on exact values, never from what was read.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import custom
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fuxictr_loopfm.prepared.dataset import PreparedDataset

ROWS, MAX_LEN = 36, 4
ROLES = ("user", "item", "time", "label", "feature", "side", "group")
# The row that lacks the value of each role, if one does.
GAP = {role: 5 + 3 * place for place, role in enumerate(ROLES)}
FORMATS = ("csv", "tsv", "parquet", "several")


@dataclass(frozen=True)
class Kind:
    """A type: how an id from 0 is spelled in it, a small number, and its type in another file."""

    type: pa.DataType
    an_id: Callable[[int], Any]
    number: Callable[[int], Any] = int
    other: pa.DataType | None = None


def _texts(number: int) -> str:
    return ["007", "7", "1e2", "100", "1.0", "NaN-1", "é", "a,b", "0x1F"][number % 9]


KINDS = {
    "int8": Kind(pa.int8(), lambda n: n - 5, other=pa.int64()),
    "int16": Kind(pa.int16(), lambda n: n - 30_000, other=pa.int32()),
    "int32": Kind(pa.int32(), lambda n: 2**30 + n, other=pa.uint64()),
    "int64": Kind(pa.int64(), lambda n: 2**60 + n),
    "uint8": Kind(pa.uint8(), lambda n: 200 + n, other=pa.int16()),
    "uint16": Kind(pa.uint16(), lambda n: 60_000 + n, other=pa.int64()),
    "uint32": Kind(pa.uint32(), lambda n: 2**32 - 1 - n, other=pa.decimal128(20, 0)),
    "uint64": Kind(pa.uint64(), lambda n: 2**63 + n, other=pa.decimal128(25, 0)),
    "decimal": Kind(pa.decimal128(30, 0), lambda n: Decimal(10**25 + n), Decimal),
    "decimal with places": Kind(pa.decimal128(20, 2), Decimal, Decimal, other=pa.int64()),
    "float64": Kind(pa.float64(), lambda n: 2**52 + n, other=pa.int64()),
    "bool": Kind(pa.bool_(), lambda n: n % 2 == 0),
    "string": Kind(pa.string(), _texts, str, other=pa.large_string()),
    "large string": Kind(pa.large_string(), _texts, str),
    "string view": Kind(pa.string_view(), _texts, str, other=pa.string()),
    "dictionary": Kind(pa.dictionary(pa.int8(), pa.string()), _texts, str, other=pa.string()),
    "dictionary of integers": Kind(
        pa.dictionary(pa.int16(), pa.int64()), lambda n: 2**60 + n, other=pa.int64()
    ),
}


def generated(kind: Kind, gaps: bool) -> list[dict[str, Any]]:
    """The rows in the order of the files: times fall, so that they must be sorted."""
    rows = []
    for row in range(ROWS):
        time = ROWS - row
        is_bool = pa.types.is_boolean(kind.type)
        values = {
            "user": kind.an_id(row % 5),
            "item": kind.an_id(row % 7),
            "time": time if is_bool else kind.number(time),
            "label": row % 2 == 1 if is_bool else kind.number(row % 2),
            "feature": kind.an_id(row % 4),
            "side": kind.an_id(row % 3),
            "group": kind.an_id(row % 6),
        }
        rows.append({r: None if gaps and GAP[r] == row else values[r] for r in ROLES})
    return rows


def write(folder: Path, name: str, kind: Kind, rows: list[dict[str, Any]]) -> str:
    """The files of a log in a format; what the spec calls them."""
    if name in ("csv", "tsv"):
        with (folder / f"log.{name}").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="," if name == "csv" else "\t")
            writer.writerow(ROLES)
            writer.writerows([[spelled(row[role]) for role in ROLES] for row in rows])
        return f"log.{name}"
    cut = len(rows) // 2 if name == "several" else 0
    for number, part in enumerate((rows[cut:], rows[:cut])):
        own = kind.type if number == 0 else (kind.other or kind.type)
        columns = {}
        for role in ROLES:
            values = [row[role] for row in part]
            plain = role == "time" and pa.types.is_boolean(kind.type)
            columns[role] = pa.array(values, pa.int64() if plain else own)
        if part:
            pq.write_table(pa.table(columns), folder / f"part-{1 - number}.parquet")
    return "part-*.parquet"


def spelled(value: Any) -> str:
    """A value as text files have it."""
    return "" if value is None else str(value).lower() if value in (True, False) else str(value)


def stored(value: Any, as_text: bool) -> str:
    """A value as the prepared data hold it, as a text."""
    if isinstance(value, bool) and not as_text:
        return str(int(value))
    return spelled(value)


def expected(rows: list[dict[str, Any]], as_text: bool) -> dict[str, list[Any]]:
    """Columns in time order, and each row's past items, by brute force."""
    needed = ("item", "time", "label", "group")
    kept = [row for row in rows if all(row[role] is not None for role in needed)]
    kept.sort(key=lambda row: int(row["time"]))
    found: dict[str, list[Any]] = {
        role: [stored(row[role], as_text) for row in kept]
        for role in ("user", "item", "feature", "side", "group")
    }
    found["time"] = [int(row["time"]) for row in kept]
    found["label"] = [int(row["label"]) for row in kept]
    found["past"] = [
        [
            stored(past["item"], as_text)
            for past in kept[:place]
            if past["user"] == row["user"] is not None and int(past["time"]) < int(row["time"])
        ][-MAX_LEN:]
        for place, row in enumerate(kept)
    ]
    return found


def prepared(folder: Path, log: str) -> PreparedDataset:
    spec = {
        "dataset_id": "Types_s1",
        "log": log,
        "rename": {"time": "clock"},
        "user": "user",
        "item": "item",
        "time": {"column": "clock", "unit": "ordinal"},
        "label": "label",
        "vertical": ["user", "item", "feature"],
        "side_columns": ["side"],
        "group": "group",
        "missing_user": "no_history",
        "duplicates": "keep",
        **{f"missing_{role}": "drop" for role in ("item", "time", "label", "group")},
        "history": {"name": "past", "max_len": MAX_LEN},
        "periods": {"kind": "chunks", "count": 3},
        "teacher_periods": 1,
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    arguments = ["--spec", str(folder / "spec.yaml"), "--out", str(folder / "out")]
    assert custom.cli(arguments) == 0
    return PreparedDataset.load(folder / "out")


def as_texts(values: list[Any]) -> list[str]:
    return [str(int(value)) if isinstance(value, bool) else str(value) for value in values]


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_role_is_kept_exactly(tmp_path: Path, kind: str, form: str, gaps: bool) -> None:
    rows = generated(KINDS[kind], gaps)
    # The last rows are in the first file.
    in_files = rows[len(rows) // 2 :] + rows[: len(rows) // 2] if form == "several" else rows
    wanted = expected(in_files, as_text=form in ("csv", "tsv"))
    found = prepared(tmp_path, write(tmp_path, form, KINDS[kind], rows))
    frame = found.frame()
    assert frame["timestamp"].tolist() == wanted["time"]
    assert frame["label"].tolist() == wanted["label"]
    for role in ("user", "item", "feature", "side", "group"):
        assert as_texts(frame[role].tolist()) == wanted[role], role
    values, end, length = found.sequence("past")
    past = [values[e - n : e].tolist() for e, n in zip(end, length.astype(int), strict=True)]
    assert [[token.decode() for token in tokens] for tokens in past] == wanted["past"]
    keys = frame[found.spec.user].tolist()
    assert len(set(keys)) == len({u for u in wanted["user"] if u}) + wanted["user"].count("")
