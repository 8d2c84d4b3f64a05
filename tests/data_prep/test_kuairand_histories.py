"""KuaiRand's histories: which videos a user was shown before, and which were watched long."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import kuairand_pure
import numpy as np
import pandas as pd
import pytest
from _kuairand_history import long_flags
from kuairand_fixture import HOUR, MIDNIGHT, make_history, make_log, write_parquet
from scripts import prepared_by, windows

from fuxictr_loopfm.prepared.dataset import PreparedDataset

prepare = partial(prepared_by, kuairand_pure)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("kuairand")
    return prepare(write_parquet(folder / "raw", make_log()), folder / "out")


def tokens(prepared: PreparedDataset, row: int) -> list[str]:
    return windows(prepared, "watch_history")[row]


def test_history_starts_with_the_earlier_videos(prepared: PreparedDataset) -> None:
    frame = prepared.frame(["user_id", "video_id"])
    rows = np.flatnonzero(frame["user_id"] == "1")
    assert tokens(prepared, rows[0]) == ["70", "71"]
    assert tokens(prepared, rows[2]) == ["70", "71", *frame["video_id"][rows[:2]]]
    assert tokens(prepared, int(np.flatnonzero(frame["user_id"] == "2")[0])) == []


def test_earlier_videos_stay_out_until_the_last_of_them(tmp_path: Path) -> None:
    raw = write_parquet(tmp_path / "raw", make_log())
    history = make_history().assign(last_time_ms=MIDNIGHT + 17)  # the time of user 1's first row
    history.to_parquet(raw / "history_before_20220425.parquet")
    prepared = prepare(raw, tmp_path / "out")
    rows = np.flatnonzero(prepared.array("user_id") == "1")
    first = prepared.array("video_id")[rows[0]]
    assert tokens(prepared, rows[0]) == []
    assert sorted(tokens(prepared, rows[1])) == sorted(["70", "71", first])


def test_long_views_stand_beside_the_videos_they_are_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    # Times are few, so that many impressions of a user are at one time.
    log = pd.concat([make_log()] * 8, ignore_index=True)
    log["time_ms"] += rng.integers(0, 3, len(log)) * HOUR
    log["long_view"] = rng.integers(0, 2, len(log))
    log["video_id"] = np.arange(len(log))
    before = pd.DataFrame(
        {"user_id": [1] * 48 + [2] * 20 + [9] * 3, "time_ms": MIDNIGHT + 5 * HOUR}
    )
    before["video_id"], before["long_view"] = 900 - before.index, rng.integers(0, 2, len(before))
    long = before[before["long_view"] == 1]
    history = pd.DataFrame({"user_id": [1, 2, 9, 3], "last_time_ms": MIDNIGHT + 5 * HOUR})
    for name, rows in (("watch_seq", before), ("long_watch_seq", long)):
        lists = rows.groupby("user_id")["video_id"].apply(list)
        history[name] = history["user_id"].map(lists)  # user 3 has none
    history.at[0, "long_watch_seq"] = [7, 8, *history.at[0, "long_watch_seq"]]  # of older videos
    raw = write_parquet(tmp_path / "raw", log)
    history.to_parquet(raw / "history_before_20220425.parquet")
    prepared = prepare(raw, tmp_path / "out")

    log = log.sort_values("time_ms", kind="stable")
    events = [*before.itertuples(), *log.itertuples()]
    videos, flags = (windows(prepared, name) for name in ("watch_history", "watch_long"))
    assert len(videos) == len(log) and max(map(len, videos)) == 50
    for row, now in enumerate(log.itertuples()):
        past = [e for e in events if e.user_id == now.user_id and e.time_ms < now.time_ms]
        past = sorted(past, key=lambda event: event.time_ms)[-50:]
        assert videos[row] == [str(event.video_id) for event in past]
        assert flags[row] == [str(event.long_view) for event in past]


def test_a_long_view_says_nothing_about_its_own_time_or_before(tmp_path: Path) -> None:
    log = make_log()
    at = sorted(log["time_ms"])[10]
    later = log["time_ms"] >= at
    changed = log.assign(long_view=log["long_view"].where(~later, 1 - log["long_view"]))
    both = [
        windows(
            prepare(write_parquet(tmp_path / name, rows), tmp_path / f"{name}-out"), "watch_long"
        )
        for name, rows in (("one", log), ("other", changed))
    ]
    assert both[0][:11] == both[1][:11] and both[0] != both[1]


@pytest.mark.parametrize(
    ("shown", "long", "flags"),
    [
        ([4, 4, 5], [4], [0, 1, 0]),  # which of equal videos cannot be told: the newest
        ([4, 5, 4], [9, 4, 4], [1, 0, 1]),
        ([4, 5, 6], [5, 6], [0, 1, 1]),
        ([4], [], [0]),
        ([], [3], []),
    ],
)
def test_flags_of_a_history_file(shown: list[int], long: list[int], flags: list[int]) -> None:
    assert long_flags(shown, long) == flags


def test_only_the_newest_50_are_kept(tmp_path: Path) -> None:
    raw = write_parquet(tmp_path / "raw", make_log())
    history = make_history()
    history.at[0, "watch_seq"] = list(range(100, 160))
    history.to_parquet(raw / "history_before_20220425.parquet")
    prepared = prepare(raw, tmp_path / "out")
    rows = np.flatnonzero(prepared.array("user_id") == "1")
    seen = [str(video) for video in range(100, 160)] + list(prepared.array("video_id")[rows])
    assert tokens(prepared, rows[1]) == seen[11:61]
