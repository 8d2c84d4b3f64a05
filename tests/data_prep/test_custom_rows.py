"""Which rows of a log get in: missing keys, stray quotes, the place that a message names, keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import custom
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from custom_toy import START, make_log, make_spec, prepare, run

from fuxictr_loopfm.prepared.dataset import PreparedDataset

Captured = pytest.CaptureFixture[str]


def without(role: str, rows: list[int]) -> pd.DataFrame:
    log = make_log().astype({role: object})
    log.loc[rows, role] = None
    return log


@pytest.mark.parametrize("role", ["uid", "item", "ts", "click"])
def test_rows_without_a_key_are_refused_with_their_number_and_file(
    tmp_path: Path, capsys: Captured, role: str
) -> None:
    assert run(tmp_path, make_spec(), without(role, [4, 7])) == 1
    told = capsys.readouterr().err
    name = {"uid": "user", "ts": "time", "click": "label"}.get(role, role)
    assert f"log: {name} {role!r}: expected a value in every row, found none in 2 of 12" in told
    assert f"the first in data row 5, line 6 of {tmp_path / 'log.csv'}" in told
    assert f"set missing_{name} to drop" in told


@pytest.mark.parametrize(
    ("role", "key"), [("uid", "user"), ("item", "item"), ("ts", "time"), ("click", "label")]
)
def test_rows_without_a_key_can_be_dropped(tmp_path: Path, role: str, key: str) -> None:
    spec = make_spec(**{f"missing_{key}": "drop"})
    found = prepare(tmp_path, spec, without(role, [4, 7]))
    left = [row for row in range(12) if row not in (4, 7)]
    assert found.timestamp.tolist() == [START + row * 3600 for row in left]


def test_a_row_without_a_user_has_no_history_and_is_in_none(tmp_path: Path) -> None:
    nobody = [1, 4, 5, 7, 9]
    found = prepare(tmp_path, make_spec(missing_user="no_history"), without("uid", nobody))
    frame, (values, end, length) = found.frame(), found.sequence("past_items")
    assert [row for row in range(12) if frame["uid"][row] == ""] == nobody
    assert length[nobody].tolist() == [0] * 5
    seen = [values[end[row] - int(length[row]) : end[row]].tolist() for row in (10, 11)]
    assert seen == [[b"002", b"000", b"002"], [b"000"]]  # rows 2, 6, 8 of u0 and 3 of u1
    keys = frame[found.spec.user].tolist()
    assert found.spec.user == "uid_or_row" and len(set(keys)) == 2 + len(nobody)
    assert [keys[row] for row in (0, 3)] == ["u0", "u1"]


def test_users_named_like_no_value_are_refused_until_the_spec_says_what_they_are(
    tmp_path: Path, capsys: Captured
) -> None:
    log = make_log()
    log.loc[[2, 4], "uid"] = "NULL"
    assert run(tmp_path, make_spec(), log) == 1
    assert "set missing_values: ['NULL'] in the spec" in capsys.readouterr().err
    assert prepare(tmp_path, make_spec(missing_values=[]), log).spec.rows == 12
    spec = make_spec(missing_values=["NULL"], missing_user="drop")
    assert prepare(tmp_path, spec, log).spec.rows == 10


def test_a_group_is_stored_and_must_have_values(tmp_path: Path, capsys: Captured) -> None:
    log = make_log().assign(session=[f"s{row % 5}" for row in range(12)])
    log.loc[3, "session"] = ""
    assert run(tmp_path, make_spec(group="session"), log) == 1
    assert "log: group 'session': expected a value in every row" in capsys.readouterr().err
    found = prepare(tmp_path, make_spec(group="session", missing_group="drop"), log)
    assert found.array("session").tolist() == [f"s{row % 5}" for row in range(12) if row != 3]


@pytest.mark.parametrize("text", ['"b', '"', '"a"b'])
def test_a_stray_quote_is_refused_with_its_line(
    tmp_path: Path, capsys: Captured, text: str
) -> None:
    write_text(tmp_path, {3: text, 6: text})
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(make_spec()))
    assert run(tmp_path, make_spec(), None) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path / 'log.csv'}: line 5: expected every value in quotes to end" in told
    assert "quoting: none" in told


@pytest.mark.parametrize("text", ['a "b', '"b', '"', 'b" c"', '"a"b'])
def test_quotes_are_characters_if_the_spec_says_so(tmp_path: Path, text: str) -> None:
    write_text(tmp_path, {3: text, 6: text})
    assert run(tmp_path, make_spec(quoting="none"), None) == 0
    found = PreparedDataset.load(tmp_path / "out").array("surface").tolist()
    assert [found[3], found[6], found[2]] == [text, text, "feed"]
    assert len(found) == 12


def test_quoted_values_hold_separators_and_on_demand_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path, {3: '"a, ""b"""', 4: '"two\nlines"'})
    assert run(tmp_path, make_spec(), None) == 1
    assert run(tmp_path, make_spec(quoting="multiline"), None) == 0
    found = PreparedDataset.load(tmp_path / "out").array("surface").tolist()
    assert found[3:5] == ['a, "b"', "two\nlines"]


def write_text(folder: Path, surfaces: dict[int, str]) -> None:
    """The toy log with some values of its last column as they are given."""
    lines = make_log().to_csv(index=False).splitlines()
    for row, text in surfaces.items():
        lines[row + 1] = lines[row + 1].rpartition(",")[0] + "," + text
    (folder / "log.csv").write_text("\n".join(lines) + "\n")


def test_messages_name_the_file_and_its_own_row(tmp_path: Path, capsys: Captured) -> None:
    log = make_log().iloc[::-1].astype({"ts": object})
    log.iloc[:5].to_csv(tmp_path / "part-0.csv", index=False)
    other = log.iloc[5:].copy()
    other.iloc[4, 2] = "noon"
    other.to_csv(tmp_path / "part-1.csv", index=False)
    keep = [{"column": "surface", "equals": str(other["surface"].iloc[4])}]
    assert run(tmp_path, make_spec(log="part-*.csv", keep=keep), None) == 1
    told = capsys.readouterr().err
    place = f"in data row 5 (1 such rows), line 6 of {tmp_path / 'part-1.csv'}"
    assert f"time 'ts': expected numbers, found 'noon' {place}" in told


def test_a_row_of_another_width_is_named(tmp_path: Path, capsys: Captured) -> None:
    write_text(tmp_path, {7: "feed,more"})
    assert run(tmp_path, make_spec(), None) == 1
    assert f"{tmp_path / 'log.csv'}: line 9: cannot be read" in capsys.readouterr().err


COUNTRY = ["SE", "NO", "DK", "DE", "no", "010"]


def kept_rows(tmp_path: Path, column: pa.Array, rule: str, form: str) -> list[int]:
    """Which of 48 rows a rule, as it stands in a spec, keeps."""
    size = len(column)
    log = {
        "uid": [f"u{row % 4}" for row in range(size)],
        "item": [f"i{row % 3}" for row in range(size)],
        "ts": [START + row for row in range(size)],
        "click": [0, 1] * (size // 2),
        "place": list(range(size)),
        "c": column,
    }
    if form == "parquet":
        pq.write_table(pa.table(log), tmp_path / "log.parquet")
    else:
        pd.DataFrame({**log, "c": column.to_pylist()}).to_csv(tmp_path / "log.csv", index=False)
    plain = make_spec(
        log=f"log.{form}", rename=None, vertical=["uid", "item"], teacher_only=None, numeric=None,
        buckets=None, history=None, side_columns=["place"], item_columns=None,
        periods={"kind": "chunks", "count": 3},
    )  # fmt: skip
    text = yaml.safe_dump(plain) + f"keep: [{{column: c, {rule}}}]\n"
    (tmp_path / "spec.yaml").write_text(text)
    code = custom.cli(["--spec", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")])
    return PreparedDataset.load(tmp_path / "out").array("place").tolist() if code == 0 else []


BIG = 2**53
FLAGS = [row % 4 < 2 for row in range(48)]
TEXTS = pa.array([COUNTRY[row // 2 % 6] for row in range(48)])
NUMBERS = pa.array([BIG + row // 2 % 6 for row in range(48)])
SMALL = pa.array([8 + row // 2 % 4 for row in range(48)], pa.int8())


@pytest.mark.parametrize(
    ("form", "column", "rule", "fits"),
    [
        ("csv", TEXTS, "one_of: [SE, NO, DK]", lambda v: v in ("SE", "NO", "DK")),
        ("parquet", TEXTS, "one_of: [SE, NO, DK]", lambda v: v in ("SE", "NO", "DK")),
        ("csv", TEXTS, "equals: 010", lambda v: v == "010"),
        ("csv", TEXTS, "equals: 'no'", lambda v: v == "no"),
        ("csv", TEXTS, "equals: no", lambda v: v == "no"),
        ("parquet", pa.array(FLAGS), "equals: true", bool),
        ("parquet", pa.array(FLAGS), "equals: no", lambda v: not v),
        ("parquet", pa.array(FLAGS), "equals: 1", bool),
        ("csv", pa.array(FLAGS), "equals: true", bool),
        ("parquet", NUMBERS, f"at_least: {BIG + 1}, below: {BIG + 3}", lambda v: 1 <= v - BIG < 3),
        ("csv", NUMBERS, f"at_least: {BIG + 1}, below: {BIG + 3}", lambda v: 1 <= v - BIG < 3),
        ("parquet", NUMBERS, f"equals: {BIG + 1}", lambda v: v == BIG + 1),
        ("parquet", SMALL, "equals: 10.0", lambda v: v == 10),
        ("parquet", SMALL, "one_of: ['8', 9]", lambda v: v < 10),
        ("parquet", SMALL.cast(pa.float32()), "equals: 9", lambda v: v == 9),
        ("parquet", SMALL.cast(pa.decimal128(9, 2)), "equals: 9", lambda v: v == 9),
        ("parquet", SMALL.dictionary_encode(), "equals: 9", lambda v: v == 9),
        (
            "parquet",
            pa.array([START + row // 2 % 3 for row in range(48)]).cast(pa.timestamp("s", "UTC")),
            "equals: 2023-11-14T22:13:21",
            lambda v: int(v.timestamp()) == START + 1,
        ),
    ],
)  # fmt: skip
def test_keep_compares_by_the_type_of_the_column(
    tmp_path: Path, form: str, column: pa.Array, rule: str, fits: Any
) -> None:
    expected = [row for row, value in enumerate(column.to_pylist()) if fits(value)]
    assert expected and kept_rows(tmp_path, column, rule, form) == expected


@pytest.mark.parametrize(
    ("column", "rule", "message"),
    [
        (SMALL, "equals: 010", "expected a number (int8) as in the column, found 010, which YAML"),
        (SMALL, "equals: true", "found true, which YAML reads as True because it has no quotes"),
        (SMALL, "equals: x", "expected a number (int8) as in the column, found 'x'"),
        (pa.array(FLAGS), "equals: maybe", "expected true or false as in the column"),
        (TEXTS, "equals: true", "keep: 'c': equals true, which YAML reads as True because it has"),
        (TEXTS, "equals: XX", "the column (large_string) has 'SE' (8), 'NO' (8)"),
        (SMALL, "at_least: 010", "keep: 0: at_least: YAML reads 010 as the number 8"),
        (SMALL, "at_least: 1e1", "keep: 0: at_least: YAML reads 1e1 as text"),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused(
    tmp_path: Path, capsys: Captured, column: pa.Array, rule: str, message: str
) -> None:
    assert kept_rows(tmp_path, column, rule, "parquet") == []
    assert message in capsys.readouterr().err


def test_names_that_yaml_does_not_read_as_text_are_shown(tmp_path: Path, capsys: Captured) -> None:
    text = yaml.safe_dump(make_spec(vertical=None)) + "vertical: [uid, item, on]\n"
    (tmp_path / "spec.yaml").write_text(text)
    custom.cli(["--spec", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")])
    assert "YAML reads on as True, put it in quotes if it is a name" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["group_id", "teacher_logit", "teacher_embedding", "loopfm_x"])
@pytest.mark.parametrize("place", ["vertical", "teacher_only", "side_columns"])
def test_names_of_what_is_added_are_refused(
    tmp_path: Path, capsys: Captured, name: str, place: str
) -> None:
    log = make_log().assign(**{name: np.arange(12)})
    spec = make_spec()
    spec[place] = [*spec[place], name]
    assert run(tmp_path, spec, log) == 1
    assert f"{name!r} cannot name a column of a data set" in capsys.readouterr().err


def test_side_columns_say_when_they_are_known(tmp_path: Path, capsys: Captured) -> None:
    sides = ["surface", {"column": "views", "known": "at_impression"},
             {"column": "age", "known": {"after_seconds": 30}}]  # fmt: skip
    few = {"vertical": ["item", "price"], "teacher_only": None, "buckets": None, "rename": None}
    found = prepare(tmp_path, make_spec(side_columns=sides, **few))
    assert found.spec.known == {
        "uid": "at_impression",
        "surface": "after_label_delay",
        "views": "at_impression",
        "age": {"after_seconds": 30},
    }
    wrong = [{"column": "age", "known": {"after_minutes": 1}}]
    assert run(tmp_path, make_spec(side_columns=wrong, **few), make_log()) == 1
    assert "side_columns: 'age': known: expected at_impression" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([7, 8, 9] * 4, [7, 8, 9]),
        ([0.5, 8, 9.25] * 4, [0.5, 8.0, 9.25]),
        (["007", "8", "9"] * 4, ["007", "8", "9"]),
        (["1e2", "8", "9"] * 4, ["1e2", "8", "9"]),
        (["", "8", "9"] * 4, ["", "8", "9"]),
        (["1", "1.0", "9"] * 4, ["1", "1.0", "9"]),
        ([2**60, 2**60 + 1, 2**63] * 4, [str(2**60), str(2**60 + 1), str(2**63)]),
    ],
)
def test_side_columns_of_text_files_are_numbers_only_where_nothing_is_lost(
    tmp_path: Path, values: list[Any], found: list[Any]
) -> None:
    log = make_log().assign(surface=values)
    assert prepare(tmp_path, make_spec(), log).array("surface").tolist()[:3] == found


def test_integers_that_a_float_cannot_hold_apart_are_refused(
    tmp_path: Path, capsys: Captured
) -> None:
    log = make_log()
    log["uid"] = 2.0**60 + log["views"]
    log.to_parquet(tmp_path / "log.parquet")
    assert run(tmp_path, make_spec(log="log.parquet"), None) == 1
    assert "expected whole numbers in floats to be exact (below 2^53" in capsys.readouterr().err


def test_bucket_edges_are_compared_exactly(tmp_path: Path) -> None:
    log = make_log().assign(age=[BIG + row % 3 for row in range(12)])
    log.to_parquet(tmp_path / "log.parquet")
    spec = make_spec(log="log.parquet", buckets={"age": [BIG + 1, BIG + 2], "views": "log2"})
    assert run(tmp_path, spec, None) == 0
    assert PreparedDataset.load(tmp_path / "out").array("age").tolist()[:3] == ["0", "1", "2"]
