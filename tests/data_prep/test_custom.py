"""Any log through a spec file: what is read, how it is mapped, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from custom_toy import START, make_log, make_spec, prepare, run

from fuxictr_loopfm.prepared.dataset import Column, Periods, PreparedDataset, SequenceColumn

REPO = Path(__file__).resolve().parents[2]


def test_columns_views_and_values(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, make_spec(), make_log().iloc[::-1])
    frame, spec = prepared.frame(), prepared.spec
    assert spec.columns == (
        Column("uid"),
        Column("item"),
        Column("item_type"),
        Column("price", "numeric", "float"),
        Column("age", views=("teacher",)),
        Column("views", views=("teacher",)),
    )
    assert frame["timestamp"].tolist() == make_log()["ts"].tolist()
    assert frame["item"].tolist()[:4] == ["000", "001", "002", "000"]
    assert frame["item_type"].tolist()[:3] == ["x", "", "y"]
    assert frame["price"].tolist()[:3] == [0.0, 0.25, 0.5]
    assert frame["age"].tolist()[:3] == ["0", "1", "2"]
    assert frame["views"].tolist()[:5] == ["0", "1", "2", "2", "3"]
    assert frame["surface"].tolist()[:2] == ["feed", "ads"]
    assert frame["period"].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert spec.periods == Periods.split(3, 1)
    assert (spec.item_columns, spec.side_columns) == (("item",), ("surface",))


def test_history_of_the_item_column(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, make_spec())
    assert prepared.spec.sequences == (SequenceColumn("past_items", of="item", max_len=3),)
    values, end, length = prepared.sequence("past_items")
    assert length.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3]
    # User u1 saw rows 1, 3, 5, 7, 9, 11: items 1, 0, 2, 1, 0, 2.
    last = [token.decode() for token in values[end[11] - 3 : end[11]]]
    assert last == ["002", "001", "000"]


@pytest.mark.parametrize(
    ("unit", "convert", "stored"),
    [
        ("ms", lambda ts: ts * 1000 + 7, "ms"),
        ("us", lambda ts: ts * 1_000_000, "us"),
        ("s", lambda ts: ts + 0.25, "us"),
        ("iso", lambda ts: pd.to_datetime(ts, unit="s").astype(str), "us"),
        ("iso", lambda ts: pd.to_datetime(ts, unit="s", utc=True), "us"),
        ("ordinal", lambda ts: ts - START - 5, "ordinal"),
    ],
)
def test_time_units(tmp_path: Path, unit: str, convert: Any, stored: str) -> None:
    log = make_log()
    log["ts"] = convert(log["ts"])
    prepared = prepare(tmp_path, make_spec(time={"column": "ts", "unit": unit}), log)
    assert prepared.spec.time_unit == stored
    seconds = START + np.arange(12) * 3600
    expected = {
        "ms": seconds * 1000 + 7,
        "us": seconds * 1_000_000 + (250_000 if unit == "s" else 0),
        "ordinal": seconds - START - 5,
    }
    assert prepared.timestamp.tolist() == expected[stored].tolist()


def test_parquet_glob_with_datetimes_and_days(tmp_path: Path) -> None:
    log = make_log()
    # Midnight in Shanghai is 16:00 UTC: one row before it, then four a day.
    log["ts"] = pd.Timestamp("2023-11-14T15:00Z") + pd.to_timedelta(np.arange(12) * 6, unit="h")
    log.loc[1, "ts"] = log.loc[0, "ts"]
    log.iloc[7:].to_parquet(tmp_path / "part-1.parquet")
    log.iloc[:7].to_parquet(tmp_path / "part-0.parquet")
    spec = make_spec(
        log=["part-*.parquet"],
        time={"column": "ts", "unit": "iso"},
        periods={"kind": "day", "timezone": "Asia/Shanghai"},
    )
    assert run(tmp_path, spec, None) == 0
    prepared = PreparedDataset.load(tmp_path / "out")
    assert prepared.period.tolist() == [1] * 2 + [2] * 3 + [3] * 4 + [4] * 3
    assert prepared.timestamp[0] == 1_699_974_000 * 1_000_000


def test_days_are_named_in_the_rule(tmp_path: Path) -> None:
    spec = make_spec(periods={"kind": "day", "timezone": "UTC"})
    log = make_log().assign(ts=lambda part: START // 86_400 * 86_400 + part.index * 6 * 3600)
    prepared = prepare(tmp_path, spec, log)
    assert prepared.spec.period_rule == "calendar day in UTC, 2023-11-14 to 2023-11-16"
    assert prepared.period.tolist() == [1] * 4 + [2] * 4 + [3] * 4


def test_keep_rules_all_hold(tmp_path: Path) -> None:
    log = pd.concat([make_log(), make_log().assign(surface="mail", ts=lambda p: p["ts"] + 1)])
    keep = [
        {"column": "surface", "one_of": ["feed", "ads"]},
        {"column": "views", "at_least": 1, "below": 11},
        {"column": "uid", "equals": "u1"},
    ]
    log["click"] = log["views"] // 2 % 2
    assert run(tmp_path, make_spec(keep=keep[:2]), log) == 0
    kept = PreparedDataset.load(tmp_path / "out")
    assert kept.timestamp.tolist() == make_log()["ts"].tolist()[1:11]
    assert run(tmp_path, make_spec(keep=keep[2:] + keep[:1]), log) == 0
    assert set(PreparedDataset.load(tmp_path / "out").array("uid")) == {"u1"}


@pytest.mark.parametrize(
    "truth", [("True", "False"), ("true", "false"), ("1", "0"), ("1.0", "0.0")]
)
def test_label_spellings(tmp_path: Path, truth: tuple[str, str]) -> None:
    log = make_log()
    log["click"] = np.where(log["click"] == 1, *truth)
    assert prepare(tmp_path, make_spec(), log).label.tolist() == [0, 1] * 6


def test_label_from_a_rating(tmp_path: Path) -> None:
    log = make_log().assign(stars=[3.5, 4.0, 4.5] * 4)
    label = {"column": "stars", "at_least": 4, "name": "liked"}
    prepared = prepare(tmp_path, make_spec(label=label), log)
    assert prepared.spec.label == "liked"
    assert prepared.label.tolist() == [0, 1, 1] * 4
    assert "stars" not in prepared.frame().columns


def test_keys_that_are_no_features_are_stored_beside_them(tmp_path: Path) -> None:
    spec = make_spec(vertical=["item"], teacher_only=[], numeric=None, buckets=None)
    prepared = prepare(tmp_path, spec)
    assert prepared.spec.side_columns == ("uid", "surface")
    assert prepared.array("uid").tolist() == ["u0", "u1"] * 6


def test_duplicates_are_refused_dropped_or_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = make_log()
    log = pd.concat([log, log.iloc[[2]]])
    assert run(tmp_path, make_spec(), log) == 1
    assert "1 of 13 rows equal an earlier row" in capsys.readouterr().err
    assert prepare(tmp_path, make_spec(duplicates="drop"), log).spec.rows == 12
    assert "1 duplicate rows dropped" in capsys.readouterr().err
    assert prepare(tmp_path, make_spec(duplicates="keep"), log).spec.rows == 13


def test_the_dev_variant(tmp_path: Path) -> None:
    spec = make_spec(periods={"kind": "chunks", "count": 4})
    whole = prepare(tmp_path, spec).frame()
    dev = prepare(tmp_path, spec, None, "--drop-last-period")
    assert dev.spec.dataset_id == "Mine_dev_s1"
    assert dev.frame().equals(whole.iloc[:9])


def test_the_shipped_example_is_valid_and_runs(tmp_path: Path) -> None:
    spec = yaml.safe_load((REPO / "data_prep" / "custom_example.yaml").read_text())
    count = 80
    index = np.arange(count)
    log = pd.DataFrame(
        {
            "user_id": index % 7,
            "item_id": index % 5,
            "shown_at": START + index,
            "clicked": index // 2 % 2,
            "surface": np.where(index % 10 == 9, "mail", "feed"),
            "position": index % 10,
            "type": "t",
            "category": index % 3,
            "price": index / 8,
            "age": np.where(index % 7 == 0, "", "30"),
            "device": "phone",
            "dwell_seconds": index / 2,
            "session_id": index // 3,
        }
    )
    (tmp_path / "raw").mkdir()
    log.to_csv(tmp_path / "raw" / "impressions_1.csv", index=False)
    prepared = prepare(tmp_path, spec)
    assert prepared.spec.rows == 72
    assert prepared.spec.periods == Periods.split(8, 4)
    assert set(prepared.array("age")) == {"", "2"}
    assert prepared.array("dwell_seconds").dtype == np.float64
    assert prepared.spec.user == "user_id_or_row"


@pytest.mark.parametrize("script", ["custom", "movielens_100k", "kuairand_pure"])
def test_scripts_run_by_path_and_their_help_has_an_example(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(REPO / "data_prep" / f"{script}.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 0
    assert f"example:\n  python data_prep/{script}.py --" in done.stdout


def test_a_mistake_exits_with_1_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(REPO / "data_prep" / "custom.py")]
        + ["--spec", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr
