"""Small raw files in KuaiRand's schema, csv and parquet."""

from __future__ import annotations

from pathlib import Path

import kuairand_pure
import numpy as np
import pandas as pd

HOUR = 3_600_000
DAY = 24 * HOUR
MIDNIGHT = int(pd.Timestamp("2022-04-25", tz="Asia/Shanghai").timestamp()) * 1000
DAYS = 6
OUTCOMES = [
    "is_like",
    "is_follow",
    "is_comment",
    "is_forward",
    "is_hate",
    "long_view",
    "play_time_ms",
    "profile_stay_time",
    "comment_stay_time",
    "is_profile_enter",
]


def make_log() -> pd.DataFrame:
    """4 impressions a day of users 1 to 3 (3 has no features) and videos 0 to 2, newest first."""
    count = DAYS * 4
    index = np.arange(count)
    time_ms = MIDNIGHT + index // 4 * DAY + index % 4 * 5 * HOUR + 17
    date = pd.to_datetime(time_ms + 8 * HOUR, unit="ms").strftime("%Y%m%d").astype(int)
    log = pd.DataFrame(
        {
            "user_id": 1 + index % 3,
            "video_id": index % 2 + index // 12,
            "date": date,
            "hourmin": index % 4 * 500,
            "time_ms": time_ms,
            "is_click": index % 2,
            **{name: index for name in OUTCOMES},
            "long_view": (index // 2 + index // 5) % 2,
            "duration_ms": 1000 * (1 + index),
            "is_rand": 0,
            "tab": index % 3,
        }
    )
    return log.iloc[::-1].reset_index(drop=True)


def make_users() -> pd.DataFrame:
    users = pd.DataFrame({"user_id": [1, 2]})
    for name in kuairand_pure.USER_CODES:
        users[name] = [f"{name}-a", f"{name}-b"]
    for name in kuairand_pure.USER_COUNTS:
        users[name] = [0, 5]
    users["onehot_feat4"] = [3.0, np.nan]
    return users


def make_videos() -> pd.DataFrame:
    videos = pd.DataFrame({"video_id": [0, 1]})
    for name in kuairand_pure.VIDEO_CODES:
        videos[name] = [f"{name}-a", f"{name}-b"]
    videos["upload_dt"] = "2022-04-10"
    videos["video_duration"] = [4000.0, np.nan]
    videos["tag"] = ["39,68", None]
    return videos


def make_history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": [1, 9],
            "history_len": [2, 1],
            "last_time_ms": [MIDNIGHT - DAY, MIDNIGHT - DAY],
            "watch_seq": [[70, 71], [72]],
            "long_watch_seq": [[70], []],
        }
    )


def write_parquet(folder: Path, log: pd.DataFrame) -> Path:
    folder.mkdir()
    log.to_parquet(folder / "impressions_x.parquet")
    make_users().to_parquet(folder / "user_features.parquet")
    make_videos().to_parquet(folder / "video_features_basic.parquet")
    make_history().to_parquet(folder / "history_before_20220425.parquet")
    return folder


def write_official(folder: Path, log: pd.DataFrame) -> Path:
    data = folder / "data"
    data.mkdir(parents=True)
    early = log["date"] < 20220428
    log[early].to_csv(data / "log_standard_4_08_to_4_21_pure.csv", index=False)
    log[~early].to_csv(data / "log_standard_4_22_to_5_08_pure.csv", index=False)
    log.to_csv(data / "log_random_4_22_to_5_08_pure.csv", index=False)
    make_users().to_csv(data / "user_features_pure.csv", index=False)
    make_videos().to_csv(data / "video_features_basic_pure.csv", index=False)
    return folder
