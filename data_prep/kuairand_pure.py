"""KuaiRand-Pure as ``KuaiRandPure_s1``: will the user click the shown video?

Source: KuaiRand (Gao et al., CIKM 2022), subset KuaiRand-Pure, CC BY-SA 4.0, standard-policy log.
Reads the official csv files (``log_standard_*.csv``, ``user_features_pure.csv``,
``video_features_basic_pure.csv``) or parquet of the same columns (``log_standard_*`` or
``impressions_*``), whatever dates they span, and ``history_before_*.parquet`` where present.

Exact copies of a row are dropped. A period is a calendar day in China time, by ``time_ms``. The
first 4 days train the teacher, the last day is the test. The teacher has all features, the 50
videos shown to the user before and which of them were watched long; the vertical model has user_id,
video and context features only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from _common import (
    HISTORY_LENGTH,
    EventList,
    Sequences,
    check_period_count,
    check_times,
    day_periods,
    dev_cut,
    log2_bucket,
    make_parser,
    run,
    step,
    to_category,
    to_integers,
    to_numbers,
    user_histories,
    write_and_describe,
)
from _kuairand_history import read_earlier
from _tables import find_all, find_one, read_header, read_tables

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.columns_io import check_labels, check_periods
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn

DATASET_ID = "KuaiRandPure_s1"
TEACHER_DAYS = 4
TIMEZONE = "Asia/Shanghai"
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_CHINA_OFFSET_MS = 8 * _HOUR_MS

LOG_COLUMNS = (
    *("user_id", "video_id", "date", "time_ms"),
    *("is_click", "long_view", "duration_ms", "is_rand", "tab"),
)
USER_CODES = (
    "user_active_degree",
    *("is_lowactive_period", "is_live_streamer", "is_video_author"),
    *("follow_user_num_range", "fans_user_num_range"),
    *("friend_user_num_range", "register_days_range"),
    *(f"onehot_feat{number}" for number in range(18)),
)
USER_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
VIDEO_CODES = (
    *("author_id", "video_type", "upload_dt", "upload_type", "visible_status"),
    *("server_width", "server_height", "music_id", "music_type", "tag"),
)
CONTEXT = ("duration", "upload_age", "tab", "hour")


def main(args: argparse.Namespace) -> None:
    """Read, check, derive features, write."""
    folders = [args.data, args.data / "data", args.data / "KuaiRand-Pure" / "data"]
    if not args.data.is_dir():
        raise DataError(f"{args.data}: no such folder; give the folder of the KuaiRand-Pure files")
    with step("read the log"):
        log, name = read_log(folders)
    with step("read users and videos"):
        users = read_users(find_one(folders, _either("user_features*"), "user feature file"))
        videos = read_videos(
            find_one(folders, _either("video_features_basic*"), "video feature file")
        )
    period, dates = log_periods(log, name)
    dataset_id, count, rows = dev_cut(DATASET_ID, period, len(dates), args.drop_last_period)
    check_period_count(count, TEACHER_DAYS, name)
    log, period = log.iloc[:rows], period[:rows]
    check_periods(period, log["is_click"].to_numpy(), count, dates)
    with step("derive features"):
        frame = features(log, users, videos).assign(period=period)
    with step("look up histories"):
        sequences = histories(log, find_all(folders, ["history_before_*.parquet"]))
    write_and_describe(args.out, description(dataset_id, dates[:count]), frame, sequences)


def read_log(folders: list[Path]) -> tuple[pd.DataFrame, str]:
    """The standard-policy log in time order without exact copies, and a name for messages.

    Columns: user_id, video_id, time_ms, date, is_click, long_view, duration_ms (int64) and tab.
    """
    patterns = [*_either("log_standard_*"), "impressions_*.parquet"]
    paths = find_all(folders, patterns)
    if not paths:
        raise DataError(f"{folders[0]}: no log found, expected {' or '.join(patterns)}")
    # The other outcomes are read only to recognise exact copies; they are never features.
    log = read_tables(paths, LOG_COLUMNS, optional=set(read_header(paths[0])) - set(LOG_COLUMNS))
    name = ", ".join(path.name for path in paths)
    if not len(log):
        raise DataError(f"{name}: the log is empty")
    copies = log.duplicated()
    if copies.any():
        print(f"{int(copies.sum()):,} exact copies of a row dropped;", end=" ", file=sys.stderr)
        log = log[~copies]
    tab = to_category(log["tab"])
    integers = [column for column in LOG_COLUMNS if column != "tab"]
    log = pd.DataFrame({key: to_integers(log[key], f"{name}: {key}") for key in integers})
    log["tab"] = tab.to_numpy()
    log = log[log["is_rand"] == 0]
    if not len(log):
        raise DataError(f"{name}: is_rand: no row of the standard policy (0)")
    for outcome in ("is_click", "long_view"):
        check_labels(log[outcome].to_numpy(), f"{name}: {outcome}")
    check_times(log["time_ms"].to_numpy(), "ms", f"{name}: time_ms")
    return log.sort_values("time_ms", kind="stable", ignore_index=True), name


def read_users(path: Path) -> pd.DataFrame:
    """User features as text, indexed by user_id."""
    table = read_tables([path], ("user_id", *USER_CODES, *USER_COUNTS))
    columns = {name: _code(table[name]) for name in USER_CODES}
    for name in USER_COUNTS:
        columns[name] = log2_bucket(to_numbers(table[name], f"{path}: {name}", missing=True))
    return _indexed(table, columns, "user_id", path)


def read_videos(path: Path) -> pd.DataFrame:
    """Video features as text, indexed by video_id; ``upload_day`` counts days since 1970."""
    table = read_tables([path], ("video_id", *VIDEO_CODES, "video_duration"))
    columns = {name: _code(table[name]) for name in VIDEO_CODES}
    duration = to_numbers(table["video_duration"], f"{path}: video_duration", missing=True)
    columns["video_duration"] = log2_bucket(duration, per_octave=2)
    uploaded = pd.to_datetime(columns["upload_dt"].replace("", None), errors="coerce")
    columns["upload_day"] = (uploaded - pd.Timestamp(0)) / pd.Timedelta(days=1)
    return _indexed(table, columns, "video_id", path)


def log_periods(log: pd.DataFrame, name: str) -> tuple[np.ndarray, list[str]]:
    """Period of each row and the dates: days in China time of ``time_ms``.

    The publisher cut the log by ``date``, which runs up to an hour ahead of ``time_ms``. So a log
    starts with a few minutes of the evening before; they belong to the first day.
    """
    date, time_ms = int(log["date"].min()), log["time_ms"].to_numpy()
    day = pd.to_datetime(str(date), format="%Y%m%d", errors="coerce")
    if pd.isna(day) or abs(_midnight(day) - time_ms[0]) > _DAY_MS:
        raise DataError(
            f"{name}: date: expected the day of time_ms as yyyymmdd, found {date} for the first"
            f" time_ms {time_ms[0]}"
        )
    return day_periods(np.maximum(time_ms, _midnight(day)), "ms", TIMEZONE)


def features(log: pd.DataFrame, users: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """All columns of the prepared events but ``period``; a missing user or video has ``""``."""
    time_ms = log["time_ms"].to_numpy()
    columns: dict[str, object] = {
        "timestamp": time_ms,
        "is_click": log["is_click"].to_numpy(),
        "user_id": log["user_id"].astype("str"),
        "video_id": log["video_id"].astype("str"),
        "tab": log["tab"],
        "hour": pd.Series((time_ms + _CHINA_OFFSET_MS) % _DAY_MS // _HOUR_MS).astype("str"),
        "duration": log2_bucket(log["duration_ms"], per_octave=2),
    }
    for table, key in ((users, "user_id"), (videos, "video_id")):
        rows = table.index.get_indexer(log[key])
        for name in table.columns.drop("upload_day", errors="ignore"):
            columns[name] = _take(table[name], rows)
        if key == "video_id":
            uploaded = np.append(table["upload_day"].to_numpy(), np.nan)[rows]
    age = np.floor((time_ms + _CHINA_OFFSET_MS) / _DAY_MS) - uploaded
    columns["upload_age"] = log2_bucket(np.maximum(age, 0))
    return pd.DataFrame(columns)


def histories(log: pd.DataFrame, history_files: list[Path]) -> Sequences:
    """The videos shown to the user strictly before each impression, and which were watched long.

    ``watch_history`` has the videos. ``watch_long`` has, place by place, "1" for a video that was
    watched long and "0" for another. How long a video was watched is an outcome of its impression,
    and known when the labels are by default: at any later time, not at an equal one.
    """
    if len(history_files) > 1:
        names = ", ".join(str(path) for path in history_files)
        raise DataError(f"expected at most one history_before_*.parquet, found {names}")
    shown = log[["user_id", "time_ms", "video_id", "long_view"]]
    if history_files:
        earlier = read_earlier(history_files[0], int(log["time_ms"].iloc[0]))
        shown = pd.concat([earlier, shown], ignore_index=True)
    user, time_ms = shown["user_id"].to_numpy(), shown["time_ms"].to_numpy()
    sequences = {}
    for name, column in (("watch_history", "video_id"), ("watch_long", "long_view")):
        events = EventList(user, time_ms, shown[column].to_numpy())
        sequences[name] = user_histories(
            events, log["user_id"].to_numpy(), log["time_ms"].to_numpy(), HISTORY_LENGTH
        )
    return sequences


def description(dataset_id: str, dates: list[str]) -> DatasetSpec:
    """The data set's ``dataset.yaml``."""
    video = ("video_id", *VIDEO_CODES, "video_duration", *CONTEXT)
    columns = [Column("user_id")]
    columns += [Column(name, views=("teacher",)) for name in (*USER_CODES, *USER_COUNTS)]
    columns += [Column(name) for name in video]
    return DatasetSpec(
        dataset_id=dataset_id,
        label="is_click",
        user="user_id",
        item="video_id",
        time_unit="ms",
        columns=tuple(columns),
        sequences=(
            SequenceColumn("watch_history", of="video_id", max_len=HISTORY_LENGTH),
            SequenceColumn("watch_long", of=None, max_len=HISTORY_LENGTH),
        ),
        item_columns=("video_id", "author_id", "tag", "video_duration", "tab"),
        periods=Periods.split(len(dates), TEACHER_DAYS),
        period_rule=f"calendar day in China time, {dates[0]} to {dates[-1]}",
        source="KuaiRand-Pure, standard-policy log (Gao et al., CIKM 2022), CC BY-SA 4.0",
    )


def _midnight(day: pd.Timestamp) -> int:
    return int(day.tz_localize(TIMEZONE).timestamp()) * 1000


def _either(pattern: str) -> list[str]:
    return [f"{pattern}.csv", f"{pattern}.parquet"]


def _code(column: pd.Series) -> pd.Series:
    """Text codes; csv writes a whole number with missing neighbours as ``1.0``, parquet as 1."""
    text = to_category(column)
    return text.str.replace(r"^(-?\d+)\.0$", r"\1", regex=True)


def _indexed(
    table: pd.DataFrame, columns: dict[str, pd.Series], key: str, path: Path
) -> pd.DataFrame:
    index = pd.Index(to_integers(table[key], f"{path}: {key}"), name=key)
    if index.has_duplicates:
        twice = index[index.duplicated()][0]
        raise DataError(f"{path}: {key}: expected one row per value, found {twice} more than once")
    return pd.DataFrame(columns).set_axis(index)


def _take(texts: pd.Series, rows: np.ndarray) -> pd.Categorical:
    """``texts[rows]`` as codes, ``""`` where a row is -1."""
    codes, categories = pd.factorize(np.append(texts.to_numpy(dtype=object), ""))
    return pd.Categorical.from_codes(codes[rows], categories=categories)


def cli(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (default: the command line); the exit code."""
    command = make_parser(
        "Prepare KuaiRand-Pure (KuaiRandPure_s1).",
        "python data_prep/kuairand_pure.py --data KuaiRand-Pure --out data/KuaiRandPure_s1",
    )
    command.add_argument("--data", type=user_path, required=True, help="folder of the raw files")
    return run(main, command, arguments)


if __name__ == "__main__":
    sys.exit(cli())
