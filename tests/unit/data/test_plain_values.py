"""Values of plain csv and parquet files: ids are exact, list items are tokens, labels are there."""

from __future__ import annotations

import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuxictr_loopfm.data.plain import build_plain
from fuxictr_loopfm.errors import DataError

BIG = 2**60


def params_of(folder: Path, tables: dict[str, pa.Table], *columns: dict[str, Any]) -> dict:
    """Params for parquet files with labels 0 and 1 beside the given columns."""
    paths = {}
    for split, table in tables.items():
        path = folder / f"{split}.parquet"
        if "click" not in table.column_names:
            labels = pa.array([float(row % 2) for row in range(len(table))])
            table = table.append_column("click", labels)
        pq.write_table(table, path)
        paths[f"{split}_data"] = str(path)
    return {
        **paths,
        "data_root": str(folder / "data"),
        "dataset_id": "tiny",
        "data_format": "parquet",
        "label_col": {"name": "click", "dtype": "float"},
        "feature_cols": [{"active": True, **column} for column in columns],
    }


def user(dtype: str) -> dict[str, Any]:
    return {"name": "user", "dtype": dtype, "type": "categorical"}


def encoded(params: dict[str, Any]) -> tuple[dict[str, dict[str, int]], list[list[Any]]]:
    """The vocabularies, and the ids of ``user`` or ``past`` in each split."""
    paths = build_plain(params)
    vocabularies = json.loads((Path(paths.train).parent / "feature_vocab.json").read_text())
    name = params["feature_cols"][-1]["name"]
    ids = [pq.read_table(path)[name].to_pylist() for path in paths[:3] if path]
    return vocabularies, ids


INTEGERS = [3, 10, 7]
FORMS = {
    "int8": pa.array(INTEGERS, pa.int8()),
    "uint64": pa.array(INTEGERS, pa.uint64()),
    "float32": pa.array(INTEGERS, pa.float32()),
    "float64": pa.array(map(float, INTEGERS), pa.float64()),
    "decimal": pa.array([decimal.Decimal(f"{n}.00") for n in INTEGERS], pa.decimal128(9, 2)),
    "text": pa.array(map(str, INTEGERS)),
    "large_text": pa.array(map(str, INTEGERS), pa.large_string()),
    "dictionary": pa.array(map(str, INTEGERS)).dictionary_encode(),
}


@pytest.mark.parametrize("dtype", ["str", "int"])
@pytest.mark.parametrize("form", FORMS)
def test_an_id_is_the_same_in_whatever_type_a_file_writes_it(
    tmp_path: Path, form: str, dtype: str
) -> None:
    train = pa.table({"user": pa.array(INTEGERS, pa.int64())})
    with_null = pa.concat_arrays([FORMS[form], pa.nulls(1, FORMS[form].type)])
    tables = {"train": train, "test": pa.table({"user": with_null})}
    vocabularies, (first, second) = encoded(params_of(tmp_path, tables, user(dtype)))
    vocabulary = vocabularies["user"]
    assert first == [vocabulary[str(number)] for number in INTEGERS]
    assert second == [*first, vocabulary["__OOV__"]]


@pytest.mark.parametrize("dtype", ["str", "int"])
def test_large_integers_with_a_null_stay_apart(tmp_path: Path, dtype: str) -> None:
    users = pa.array([BIG, BIG + 1, None, BIG + 2])
    vocabularies, _ = encoded(
        params_of(tmp_path, {"train": pa.table({"user": users})}, user(dtype))
    )
    assert {str(BIG + k) for k in range(3)} <= set(vocabularies["user"])


def test_parts_of_one_split_may_differ_in_type(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, users in {"a": pa.array([1, 2]), "b": pa.array([2.0, None])}.items():
        table = pa.table({"user": users, "click": [0, 1], name: [1, 2]})
        pq.write_table(table, folder / f"{name}.parquet")
    params = params_of(tmp_path, {}, user("str")) | {"train_data": str(folder)}
    vocabularies, (ids,) = encoded(params)
    assert vocabularies["user"].keys() - {"__PAD__", "__OOV__"} == {"1", "2"}
    assert ids[1] == ids[2]


def test_text_stays_text(tmp_path: Path) -> None:
    texts = ["007", "7", "1e2", "100"]
    vocabularies, _ = encoded(
        params_of(tmp_path, {"train": pa.table({"user": texts})}, user("str"))
    )
    assert set(texts) <= set(vocabularies["user"])


@pytest.mark.parametrize(
    ("values", "dtype", "found"),
    [
        (pa.array([1.0, 2.0**53]), "str", "9007199254740992.0"),
        (pa.array([1.0, 2.0**24], pa.float32()), "int", "16777216.0"),
        (pa.array([1.0, 1.5]), "int", "1.5"),
        (pa.array([1.0, float("inf")]), "str", "inf"),
        (pa.array([1, 2**64 - 1], pa.uint64()), "int", "18446744073709551615"),
        (pa.array(["1", "u2"]), "int", "'u2'"),
        (pa.array([1, 2**53]), "float", "9007199254740992"),
    ],
)
def test_an_id_that_is_not_exact_is_refused(
    tmp_path: Path, values: pa.Array, dtype: str, found: str
) -> None:
    params = params_of(tmp_path, {"train": pa.table({"user": values})}, user(dtype))
    with pytest.raises(DataError) as error:
        build_plain(params)
    assert "train.parquet: column user (" in str(error.value)
    assert f"found {found} in data row 2 (1 such rows)" in str(error.value)


def test_digits_of_other_numbers_are_categories(tmp_path: Path) -> None:
    stars = pa.table({"user": [0.5, 4.0, 0.5]})
    vocabularies, (ids,) = encoded(params_of(tmp_path, {"train": stars}, user("str")))
    assert {"0.5", "4"} <= set(vocabularies["user"]) and ids[0] == ids[2]


NESTED = {
    "lists": pa.array([[1], [2, 1]]),
    "structs": pa.array([{"a": 1}, {"a": 2}]),
}


@pytest.mark.parametrize("values", NESTED)
def test_several_values_a_row_are_refused_where_no_sequence_is(tmp_path: Path, values: str) -> None:
    params = params_of(tmp_path, {"train": pa.table({"user": NESTED[values]})}, user("str"))
    with pytest.raises(DataError, match=r"train\.parquet: column user: expected one value a row"):
        build_plain(params)


def test_items_of_lists_are_tokens_whatever_the_splitter(tmp_path: Path) -> None:
    past = {"name": "past", "dtype": "str", "type": "sequence", "max_len": 3, "splitter": "|"}
    tables = {
        "train": pa.table({"past": [["1", "2^x"], None, ["a|b"]]}),
        "valid": pa.table({"past": ["1|2^x", "", "a|b"]}),
        "test": pa.table({"past": [[1.0], [], [None, 1.0]]}),
    }
    vocabularies, (train, valid, test) = encoded(params_of(tmp_path, tables, past))
    ids = vocabularies["past"]
    assert ids.keys() == {"1", "2^x", "a|b", "__PAD__", "__OOV__"}
    assert train == [[ids["1"], ids["2^x"], 0], [0, 0, 0], [ids["a|b"], 0, 0]]
    # Texts are split, and neither half of a|b is known.
    assert valid == [*train[:2], [ids["__OOV__"], ids["__OOV__"], 0]]
    assert test == [[ids["1"], 0, 0], [0, 0, 0], [ids["1"], 0, 0]]


def csv_params(folder: Path, labels: dict[str, list[str]], **settings: Any) -> dict[str, Any]:
    params = params_of(folder, {}, user("str"))
    for split, values in labels.items():
        path = folder / f"{split}.csv"
        path.write_text("user,click\n" + "".join(f"u1,{value}\n" for value in values))
        params[f"{split}_data"] = str(path)
    return params | {"data_format": "csv"} | settings


def test_a_missing_label_is_refused_with_its_file_and_row(tmp_path: Path) -> None:
    params = csv_params(tmp_path, {"train": ["1", "0"], "test": ["0", "", "1", ""]})
    with pytest.raises(DataError) as error:
        build_plain(params)
    expected = "test_data: click: expected 0 or 1, found none in data row 2 (2 such rows)\n"
    assert str(error.value).startswith(f"{tmp_path}/test.csv: {expected}")
    assert not list(tmp_path.glob("data/tiny/view-*"))
    params["label_col"] = {**params["label_col"], "fill_na": 0}
    assert pq.read_table(build_plain(params).test)["click"].to_pylist() == [0, 0, 1, 0]


def test_labels_other_than_0_and_1_are_refused_in_all_files_at_once(tmp_path: Path) -> None:
    labels = {"train": ["1", *"1234567"], "valid": ["1", "-1"], "test": ["0", "1"]}
    with pytest.raises(DataError) as error:
        build_plain(csv_params(tmp_path, labels))
    first, second, remedy = str(error.value).splitlines()
    assert "train_data: click: expected 0 or 1, found [1, 2, 3, ..., 7], the first" in first
    assert "in data row 3 (6 such rows)" in first
    assert "valid_data: click: expected 0 or 1, found [-1, 1], the first" in second
    assert "0 and 1" in remedy


def test_regression_takes_any_number_and_shares_nothing_with_classification(
    tmp_path: Path,
) -> None:
    params = csv_params(tmp_path, {"train": ["1", "4.5"]}, task="regression")
    assert pq.read_table(build_plain(params).train)["click"].to_pylist() == [1, 4.5]
    with pytest.raises(DataError, match="expected 0 or 1"):
        build_plain({**params, "task": "binary_classification"})


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([True, False]),
        pa.array([decimal.Decimal("1.0"), decimal.Decimal("0.0")]),
        pa.array(["1", "0"]),
        pa.array(["1", "0"]).dictionary_encode(),
        pa.array([1, 0], pa.uint8()),
    ],
    ids=lambda labels: str(labels.type),
)
def test_labels_of_every_type_are_numbers_and_a_null_among_them_refused(
    tmp_path: Path, labels: pa.Array
) -> None:
    table = pa.table({"user": ["a", "b"], "click": labels})
    params = params_of(tmp_path, {"train": table}, user("str"))
    assert pq.read_table(build_plain(params).train)["click"].to_pylist() == [1, 0]
    pq.write_table(
        pa.concat_tables(
            [table, table.slice(0, 1).set_column(1, "click", pa.nulls(1, labels.type))]
        ),
        params["train_data"],
    )
    with pytest.raises(DataError, match=r"found none in data row 3 \(1 such rows\)"):
        build_plain(params)


def test_a_copied_column_that_nothing_else_reads_stays_text(tmp_path: Path) -> None:
    params = csv_params(tmp_path, {"train": ["1", "0"]})
    Path(params["train_data"]).write_text("user,click,code\na,1,007\nb,0,7\n")
    params["feature_cols"][0] |= {"name": "group", "preprocess": "copy_from(code)"}
    vocabularies, _ = encoded(params)
    assert {"007", "7"} <= set(vocabularies["group"])
    assert pl.read_parquet(build_plain(params).train)["group"].n_unique() == 2


def test_pretrained_embeddings_without_keys_and_values_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npz"
    np.savez(path, a=np.ones(2))
    column = {**user("str"), "pretrained_emb": str(path)}
    params = params_of(tmp_path, {"train": pa.table({"user": ["x", "y"]})}, column)
    with pytest.raises(DataError, match="expected arrays 'key' and 'value'"):
        build_plain(params)
