"""Plain FuxiCTR data sets: the same ids as FuxiCTR, rebuilt when anything changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import ray
from fuxictr_build import fuxictr_build

from fuxictr_loopfm.data.plain import build_plain
from fuxictr_loopfm.errors import ConfigError, DataError

HEADER = "click,user,item,age,price,past,tags\n"
FILES = {
    "train": "1,u1,a,7,1.5,a^b,x|y\n0,u2,b,,2.0,,y\n1,u1,a,9,,b^a^c^a,x|x|z\n0,u3,,7,4.0,d,\n",
    "valid": "0,u4,a,8,3.0,zz^a,y\n1,u1,c,7,0.5,a^^b,w|x\n",
    "test": "1,u5,d,9,10.0,c^c^c^c^b,z\n",
}


@pytest.fixture
def params(tmp_path: Path) -> dict[str, Any]:
    paths = {}
    for split, lines in FILES.items():
        paths[f"{split}_data"] = str(tmp_path / f"{split}.csv")
        Path(paths[f"{split}_data"]).write_text(HEADER + lines)
    return {
        **paths,
        "data_root": str(tmp_path / "data"),
        "dataset_id": "tiny_x1",
        "data_format": "csv",
        "label_col": {"name": "click", "dtype": "float"},
        "feature_cols": [
            {"name": "group", "active": True, "dtype": "str", "type": "meta"}
            | {"preprocess": "copy_from(user)"},
            {"name": ["user", "item"], "active": True, "dtype": "str", "type": "categorical"},
            {"name": "age", "active": True, "dtype": "int", "type": "categorical"},
            {"name": "price", "active": True, "dtype": "float", "type": "numeric"}
            | {"normalizer": "MinMaxScaler"},
            {"name": "past", "active": True, "dtype": "str", "type": "sequence"}
            | {"splitter": "^", "max_len": 3, "padding": "pre", "share_embedding": "item"},
            {"name": "tags", "active": True, "dtype": "str", "type": "sequence"}
            | {"splitter": "|", "max_len": 2},
        ],
    }


@pytest.mark.parametrize("min_count", [1, 2])
@pytest.mark.parametrize("normalizer", ["StandardScaler", "MinMaxScaler"])
def test_files_equal_those_of_fuxictr(
    params: dict[str, Any], tmp_path: Path, min_count: int, normalizer: str
) -> None:
    params["min_categr_count"] = min_count
    params["feature_cols"][3]["normalizer"] = normalizer
    files = {split: Path(params[f"{split}_data"]) for split in FILES}
    reference = {**params, "data_root": str(tmp_path / "fuxictr")}
    feature_map, vocabulary, columns = fuxictr_build(reference, files)

    paths = build_plain(params)

    assert json.loads(Path(paths.feature_map).read_text()) == feature_map
    folder = Path(paths.feature_map).parent
    assert json.loads((folder / "feature_vocab.json").read_text()) == vocabulary
    for split, path in zip(FILES, paths[:3], strict=True):
        table = pq.read_table(path)
        assert set(table.column_names) == set(columns[split])
        for name, expected in columns[split].items():
            found = np.array(table[name].to_pylist())
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7, err_msg=name)
    assert not ray.is_initialized()


def test_lists_of_a_parquet_file_equal_joined_text(params: dict[str, Any], tmp_path: Path) -> None:
    for split in FILES:
        frame = pl.read_csv(params[f"{split}_data"]).with_columns(
            pl.col("past").fill_null("").str.split("^")
        )
        params[f"{split}_data"] = str(tmp_path / f"{split}-raw.parquet")
        frame.write_parquet(params[f"{split}_data"])
    from_csv = build_plain({**params, **{f"{s}_data": str(tmp_path / f"{s}.csv") for s in FILES}})
    from_parquet = build_plain({**params, "dataset_id": "p", "data_format": "parquet"})
    for one, two in zip(from_csv[:3], from_parquet[:3], strict=True):
        assert pq.read_table(one)["past"].equals(pq.read_table(two)["past"])


def test_a_split_that_is_not_given_has_no_path(params: dict[str, Any]) -> None:
    del params["valid_data"]
    params["test_data"] = None
    paths = build_plain(params)
    assert (paths.valid, paths.test) == (None, None)
    assert Path(paths.train).is_file()
    assert not (Path(paths.train).parent / "valid.parquet").exists()


def test_unchanged_contents_are_reused_and_changed_ones_encoded_beside_them(
    params: dict[str, Any],
) -> None:
    first = build_plain(params)
    written = os.stat(first.train).st_mtime_ns
    os.utime(params["train_data"])
    assert build_plain(params) == first and os.stat(first.train).st_mtime_ns == written
    with open(params["train_data"], "a") as stream:
        stream.write("1,u9,a,7,1.0,a,x\n")
    assert pq.read_metadata(build_plain(params).train).num_rows == 5
    assert pq.read_metadata(first.train).num_rows == 4


def test_same_size_and_time_do_not_hide_other_contents(params: dict[str, Any]) -> None:
    first = build_plain(params)
    path = Path(params["train_data"])
    status, text = path.stat(), path.read_text()
    path.write_text(text.replace("1,u1,a,7", "0,u1,a,7"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert build_plain(params) != first


def test_raw_files_in_fuxictrs_folder_of_the_data_set_survive(
    params: dict[str, Any], tmp_path: Path
) -> None:
    raw = tmp_path / "data" / "tiny_x1" / "train.parquet"
    raw.parent.mkdir(parents=True)
    pl.read_csv(params["train_data"]).write_parquet(raw)
    before = raw.read_bytes()
    params |= {"data_format": "parquet", "train_data": str(raw)}
    params |= {"valid_data": None, "test_data": None}
    paths = build_plain(params)
    assert Path(paths.train) != raw and raw.read_bytes() == before


def test_contradictory_settings_are_reported_together(params: dict[str, Any]) -> None:
    params |= {"data_format": "h5", "valid_size": 0.1, "rebuild_dataset": False}
    params["feature_cols"].append({"name": "hist", "dtype": "float", "type": "loopfm_sequence"})
    with pytest.raises(ConfigError) as error:
        build_plain(params)
    found = [problem.split(":")[1].strip() for problem in error.value.problems]
    assert found == ["data_format", "valid_size", "rebuild_dataset", "feature_cols"]


def test_a_missing_file_is_named(params: dict[str, Any]) -> None:
    params["test_data"] = "nowhere.csv"
    with pytest.raises(DataError, match="nowhere.csv: expected a csv file"):
        build_plain(params)


def test_text_in_a_number_column_is_a_data_error(params: dict[str, Any]) -> None:
    Path(params["train_data"]).write_text(HEADER + "1,u1,a,old,1.5,a,x\n")
    with pytest.raises(
        DataError, match="tiny_x1: .*cannot be encoded as configured.*`old`.*Correct"
    ):
        build_plain(params)


def test_a_folder_of_parts_is_one_split(params: dict[str, Any], tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    lines = FILES["train"].splitlines(keepends=True)
    (parts / "b.csv").write_text(HEADER + "".join(lines[2:]))
    (parts / "a.csv").write_text(HEADER + "".join(lines[:2]))
    whole = build_plain(params)
    split = build_plain({**params, "dataset_id": "parts", "train_data": str(parts)})
    assert pq.read_table(whole.train).equals(pq.read_table(split.train))
