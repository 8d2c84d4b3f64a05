"""KuaiRand-Pure on small raw files in the real schema, csv and parquet."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import kuairand_pure
import numpy as np
import pandas as pd
import pytest
from kuairand_fixture import (
    DAY,
    DAYS,
    MIDNIGHT,
    OUTCOMES,
    make_history,
    make_log,
    make_users,
    make_videos,
    write_official,
    write_parquet,
)
from leaderboard_toy import leaderboard
from scripts import error_of, prepared_by, windows

from fuxictr_loopfm.prepared.dataset import PreparedDataset

prepare = partial(prepared_by, kuairand_pure)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("kuairand")
    return prepare(write_parquet(folder / "raw", make_log()), folder / "out")


def tokens(prepared: PreparedDataset, row: int) -> list[str]:
    return windows(prepared, "watch_history")[row]


def test_rows_are_in_time_order_with_days_as_periods(prepared: PreparedDataset) -> None:
    frame = prepared.frame()
    assert frame["timestamp"].tolist() == sorted(make_log()["time_ms"])
    assert frame["period"].tolist() == [row // 4 + 1 for row in range(DAYS * 4)]
    assert frame["is_click"].tolist() == [0, 1] * (DAYS * 2)
    assert prepared.spec.dataset_id == kuairand_pure.DATASET_ID == "KuaiRandPure_s1"
    assert prepared.spec.time_unit == "ms"
    periods = prepared.spec.periods
    assert (periods.teacher_train, periods.vertical_train, periods.test) == (
        (1, 2, 3, 4),
        (5,),
        (6,),
    )


def test_context_features_are_known_at_the_impression(prepared: PreparedDataset) -> None:
    frame = prepared.frame()
    assert frame["hour"].tolist()[:4] == ["0", "5", "10", "15"]
    # 15 days after the upload on the first day, 16 and more from the second: octaves 4 and 5.
    assert frame["upload_age"].tolist()[:5] == ["4", "4", "4", "4", "5"]
    # Half octaves: log2(1000) = 9.97 -> 19, log2(2000) = 10.97 -> 21; counted from 1.
    assert frame["duration"].tolist()[:2] == ["20", "22"]
    assert frame["tab"].tolist()[:3] == ["0", "1", "2"]


def test_unknown_users_and_videos_have_empty_features(prepared: PreparedDataset) -> None:
    frame = prepared.frame()
    third = frame["user_id"] == "3"
    user_features = [*kuairand_pure.USER_CODES, *kuairand_pure.USER_COUNTS]
    assert third.any() and (frame.loc[third, user_features] == "").all().all()
    unknown = frame["video_id"] == "2"
    video_features = [*kuairand_pure.VIDEO_CODES, "video_duration", "upload_age"]
    assert unknown.any() and (frame.loc[unknown, video_features] == "").all().all()
    second = frame[frame["user_id"] == "2"].iloc[0]
    assert (second["onehot_feat4"], second["fans_user_num"]) == ("", "3")
    first = frame[(frame["user_id"] == "1") & (frame["video_id"] == "0")].iloc[0]
    assert (first["onehot_feat4"], first["fans_user_num"], first["tag"]) == ("3", "0", "39,68")
    assert frame.loc[frame["video_id"] == "1", "video_duration"].eq("").all()


def test_no_outcome_is_written_and_only_the_teacher_sees_users(prepared: PreparedDataset) -> None:
    stored = set(prepared.frame().columns)
    assert not stored & {*OUTCOMES, "play_time_ms", "hourmin", "date", "is_rand"}
    vertical = {column.name for column in prepared.spec.columns_of("vertical")}
    assert not vertical & {*kuairand_pure.USER_CODES, *kuairand_pure.USER_COUNTS}
    assert {"user_id", "video_id", "tab", "hour", "duration"} <= vertical
    assert set(prepared.spec.item_columns) <= vertical


def test_official_csv_files_give_the_same_events(tmp_path: Path, prepared: PreparedDataset) -> None:
    other = prepare(write_official(tmp_path / "raw", make_log()), tmp_path / "out")
    assert other.frame().equals(prepared.frame())
    rows = np.flatnonzero(other.array("user_id") == "1")
    assert tokens(other, rows[0]) == []  # no history file there


def test_copies_and_other_policies_are_dropped(tmp_path: Path, prepared: PreparedDataset) -> None:
    log = make_log()
    random = log.assign(is_rand=1, time_ms=log["time_ms"] + 1)
    log = pd.concat([log, log.iloc[[3, 3, 7]], random])
    other = prepare(write_parquet(tmp_path / "raw", log), tmp_path / "out")
    assert other.frame().equals(prepared.frame())


def test_the_evening_before_the_first_date_belongs_to_the_first_day(tmp_path: Path) -> None:
    log = make_log()
    early = log.iloc[[-1]].assign(time_ms=MIDNIGHT - 60_000)
    raw = write_parquet(tmp_path / "raw", pd.concat([log, early]))
    prepared = prepare(raw, tmp_path / "out")
    assert prepared.spec.periods.count == DAYS
    assert prepared.rows_of([1]) == slice(0, 5)
    # The `date` of later rows is never used, however wrong it is.
    raw = write_parquet(tmp_path / "raw2", log.assign(date=log["date"].clip(upper=20220426)))
    assert prepare(raw, tmp_path / "out2").spec.periods.count == DAYS


def test_the_dev_variant_drops_the_last_day(tmp_path: Path, prepared: PreparedDataset) -> None:
    log = make_log()
    later = log[log["date"] == log["date"].max()].assign(time_ms=lambda part: part["time_ms"] + DAY)
    raw = write_parquet(tmp_path / "raw", pd.concat([log, later]))
    dev = prepare(raw, tmp_path / "dev", "--drop-last-period")
    assert dev.spec.dataset_id == "KuaiRandPure_dev_s1"
    assert dev.frame().equals(prepared.frame())
    for name in ("watch_history", "watch_long"):
        assert np.array_equal(dev.sequence(name)[1], prepared.sequence(name)[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda log: log.drop(columns="tab"), "missing columns 'tab'"),
        (lambda log: log.iloc[:0], "the log is empty"),
        (lambda log: log.assign(is_rand=1), "no row of the standard policy"),
        (lambda log: log.assign(is_click=2), "expected 0 or 1, found [2]"),
        (lambda log: log.assign(long_view=2), "long_view': expected 0 or 1, found [2]"),
        (lambda log: log.assign(is_click=1), "(2022-04-25): expected both classes"),
        (lambda log: log.assign(time_ms=log["time_ms"] // 1000), "they fit unit 's'"),
        (lambda log: log.assign(time_ms=log["time_ms"].where(log.index != 3)), "in data row 4"),
        (lambda log: log[log["date"] != 20220427], "(2022-04-27): expected at least one row"),
        (lambda log: log[log["date"] < 20220430], "expected at least 6 periods"),
        (lambda log: log.assign(date=5), "date: expected the day of time_ms"),
        (lambda log: log.assign(date=20220801), "date: expected the day of time_ms"),
    ],
)
def test_bad_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: object, message: str
) -> None:
    assert callable(change)
    raw = write_parquet(tmp_path / "raw", change(make_log()))
    assert message in error_of(capsys, kuairand_pure, raw, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "frame", "message"),
    [
        ("user_features", pd.concat([make_users()] * 2), "user_id: expected one row per value"),
        ("user_features", make_users().drop(columns="register_days"), "'register_days'"),
        ("video_features_basic", make_videos().assign(video_duration="long"), "video_duration"),
        ("history_before_20220425", make_history().drop(columns="watch_seq"), "'watch_seq'"),
        ("history_before_20220425", make_history().assign(watch_seq=1), "cannot be read"),
        ("history_before_20220425", make_history().drop(columns="long_watch_seq"), "'long_watch"),
        (
            "history_before_20220425",
            make_history().assign(last_time_ms=MIDNIGHT + 3 * DAY),
            "expected histories that end before the log begins",
        ),
        ("history_before_20220426", make_history(), "at most one history_before"),
        ("user_features_pure", make_users(), "expected one user feature file"),
    ],
)
def test_bad_side_files(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    frame: pd.DataFrame,
    message: str,
) -> None:
    raw = write_parquet(tmp_path / "raw", make_log())
    frame.to_parquet(raw / f"{name}.parquet")
    assert message in error_of(capsys, kuairand_pure, raw, tmp_path / "out")


def test_no_folder_and_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for raw, message in ((tmp_path / "none", "no such folder"), (tmp_path, "no log found")):
        assert message in error_of(capsys, kuairand_pure, raw, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_parquet, write_official])
def test_from_the_files_to_a_leaderboard(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A column that is empty in all training rows is refused, and these rows are few.
    full = make_videos().fillna({"tag": "7", "video_duration": 9000.0})
    full = pd.concat([full, full.tail(1).assign(video_id=2)], ignore_index=True)
    users = make_users().ffill()
    users = pd.concat([users, users.tail(1).assign(user_id=3)], ignore_index=True)
    monkeypatch.setattr("kuairand_fixture.make_videos", lambda: full)
    monkeypatch.setattr("kuairand_fixture.make_users", lambda: users)
    raw = write(tmp_path / "raw", make_log())
    records = leaderboard("KuaiRandPure_s1", raw, tmp_path / "checkout")
    assert all(np.isfinite(record.metrics["logloss"]) for record in records.values())
