"""TaobaoAd on small files in the public schema, from the raw files to a leaderboard."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import _taobao_files
import _taobao_x1
import numpy as np
import pandas as pd
import pytest
import taobao_ad
import taobao_fixture
from leaderboard_toy import leaderboard
from scripts import error_of, prepared_by, published, windows
from taobao_fixture import DAY, FIRST_SECOND, LOG_DAYS_BEFORE, Size

from fuxictr_loopfm.prepared.dataset import PreparedDataset

prepare = partial(prepared_by, taobao_ad)
PROFILE = taobao_fixture.PROFILE_HEADER.strip().split(",")[1:]
HISTORIES = {"cate_his": "cate", "brand_his": "brand", "btag_his": "btag"}


def read(folder: Path, name: str) -> pd.DataFrame:
    """A raw file as text, headers stripped; what is missing in it is empty."""
    table = pd.read_csv(folder / name, dtype="str", keep_default_na=False)
    table.columns = [column.strip() for column in table.columns]
    return table.replace({"<NULL>": ""})


def change(folder: Path, name: str, edit: Callable[[list[str]], list[str]]) -> None:
    """Edit the data lines of a raw file; the header stays."""
    header, *lines = (folder / name).read_text().splitlines()
    (folder / name).write_text("\n".join([header, *edit(lines)]) + "\n")


def add_awkward_behaviour(folder: Path) -> None:
    """Behaviours at the very second of impressions, with gaps, of strangers, at foreign times."""
    shown = read(folder, "raw_sample.csv").iloc[::7]
    odd = [f"{u},{t},buy,11,7" for u, t in zip(shown["user"], shown["time_stamp"], strict=True)]
    odd += [f"{u},{int(t) - 1},fav,12," for u, t in shown.iloc[::2, :2].to_numpy()]
    odd += [f"{u},{int(t) - 1},cart,,8" for u, t in shown.iloc[::3, :2].to_numpy()]
    odd += [f"{u},{int(t) - 2},pv,13,<NULL>" for u, t in shown.iloc[::5, :2].to_numpy()]
    odd += [f"987654,{FIRST_SECOND},pv,14,9", f"{shown['user'].iloc[0]},1,pv,15,9"]
    first_log_second = FIRST_SECOND - LOG_DAYS_BEFORE * DAY
    odd += [f"{shown['user'].iloc[0]},{first_log_second - 1},pv,15,9"]
    change(folder, "behavior_log.csv", lambda lines: [*odd, *lines])


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taobao") / "raw"
    taobao_fixture.write_raw(folder, Size(users=40, behaviours=90))
    add_awkward_behaviour(folder)
    return folder


@pytest.fixture(scope="module")
def prepared(raw: Path) -> PreparedDataset:
    return prepare(raw, raw.parent / "out")


def joined(raw: Path) -> pd.DataFrame:
    """The impressions that have both a profile and an ad, in time order."""
    sample = read(raw, "raw_sample.csv").rename(columns={"user": "userid"})
    table = sample.merge(read(raw, "user_profile.csv"), on="userid", how="left", indicator="user")
    table = table.merge(read(raw, "ad_feature.csv"), on="adgroup_id", how="left", indicator="ad")
    table = table[(table["user"] == "both") & (table["ad"] == "both")]
    table["time_stamp"] = table["time_stamp"].astype("int64")
    return table.sort_values("time_stamp", kind="stable", ignore_index=True)


def test_impressions_are_joined_ordered_and_complete(raw: Path, prepared: PreparedDataset) -> None:
    expected, frame = joined(raw), prepared.frame()
    assert 0 < len(expected) < len(read(raw, "raw_sample.csv"))
    assert frame["timestamp"].tolist() == expected["time_stamp"].tolist()
    assert frame["clk"].tolist() == expected["clk"].astype(int).tolist()
    for name in ("userid", "adgroup_id", "pid", *PROFILE, *taobao_ad.AD):
        assert frame[name].tolist() == expected[name].tolist(), name
    assert {"", "430548_1007"} <= {*frame["pvalue_level"], *frame["brand"], *frame["pid"]}
    assert set(frame["btag"]) == {"pv"}


def test_days_are_days_in_china(prepared: PreparedDataset) -> None:
    days = pd.to_datetime(prepared.timestamp, unit="s", utc=True).tz_convert("Asia/Shanghai")
    first = pd.Timestamp("2017-05-06", tz="Asia/Shanghai")
    assert prepared.period.tolist() == [(day.normalize() - first).days + 1 for day in days]
    assert set(prepared.period) == set(range(1, 9))


def test_prices_are_in_half_octaves(raw: Path, prepared: PreparedDataset) -> None:
    price = joined(raw)["price"].astype(float)
    expected = np.floor(np.log2(price.clip(lower=1)) * 2).astype(int) + 1
    expected = expected.astype("str").mask(price == 0, "0")
    assert prepared.array("price").tolist() == expected.tolist()


def test_the_description_is_the_papers_setting(prepared: PreparedDataset) -> None:
    spec = prepared.spec
    assert spec.dataset_id == taobao_ad.DATASET_ID == "TaobaoAd_s1"
    assert (spec.label, spec.user, spec.item, spec.time_unit) == (
        "clk",
        "userid",
        "adgroup_id",
        "s",
    )
    assert len(spec.columns_of("teacher")) + len(spec.sequences) == 20
    assert spec.columns_of("teacher") == spec.columns_of("vertical")
    assert {s.name: (s.of, s.max_len, s.views) for s in spec.sequences} == {
        name: (of, 50, ("teacher", "vertical"))
        for name, of in (("cate_his", "cate_id"), ("brand_his", "brand"), ("btag_his", "btag"))
    }
    periods = spec.periods
    assert (periods.teacher_train, periods.log) == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert (periods.vertical_train, periods.test) == ((5, 6, 7), (8,))
    items = ("adgroup_id", "cate_id", "campaign_id", "customer", "brand", "price")
    assert spec.item_columns == items


def brute_force(raw: Path, prepared: PreparedDataset) -> list[pd.DataFrame]:
    """Per impression the newest 50 behaviours with a category strictly before it."""
    log = read(raw, "behavior_log.csv")
    log["time"] = log["time_stamp"].astype("int64")
    first = FIRST_SECOND - LOG_DAYS_BEFORE * DAY
    log = log[(log["cate"] != "") & (log["time"] >= first)]
    of_user = {user: part.sort_values("time", kind="stable") for user, part in log.groupby("user")}
    return [
        of_user[user][of_user[user]["time"] < time].tail(50)
        for user, time in zip(prepared.array("userid"), prepared.timestamp, strict=True)
    ]


def test_histories_are_strictly_before_and_aligned(raw: Path, prepared: PreparedDataset) -> None:
    expected = brute_force(raw, prepared)
    for name, column in HISTORIES.items():
        assert windows(prepared, name) == [part[column].tolist() for part in expected]
    lengths = {len(part) for part in expected}
    assert 50 in lengths and min(lengths) < 50
    brands = [token for window in windows(prepared, "brand_his") for token in window]
    assert "" in brands and "11" in sum(windows(prepared, "cate_his"), [])
    bounds = [prepared.sequence(name)[1:] for name in HISTORIES]
    for end, length in bounds[1:]:
        assert np.array_equal(end, bounds[0][0]) and np.array_equal(length, bounds[0][1])


def test_each_reachable_behaviour_is_stored_once(raw: Path, prepared: PreparedDataset) -> None:
    reached = {row for part in brute_force(raw, prepared) for row in part.index}
    assert len(reached) < len(read(raw, "behavior_log.csv"))
    assert {len(prepared.sequence(name)[0]) for name in HISTORIES} == {len(reached)}


@pytest.mark.parametrize("limit", ["0.0001", "0.00000001"])
def test_out_of_core_gives_the_same_bytes(
    tmp_path: Path,
    raw: Path,
    prepared: PreparedDataset,
    limit: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = []
    split = taobao_ad.split_log
    monkeypatch.setattr(
        taobao_ad, "split_log", lambda *args: (counts.append(args[3]), split(*args))[1]
    )
    monkeypatch.setattr(_taobao_files, "BLOCK_BYTES", 1 << 12)
    other = prepare(raw, tmp_path / "out", "--memory-limit", limit)
    assert counts == [256 if limit.startswith("0.0000000") else counts[0]] and counts[0] > 1
    assert other.spec.files == prepared.spec.files
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_one_file_is_enough_for_small_logs(raw: Path) -> None:
    log = raw / "behavior_log.csv"
    assert taobao_ad.file_count(log, 16) == 1
    gib = log.stat().st_size / 31 * 110 * 4 / 2**30
    assert taobao_ad.file_count(log, gib / 2.5) == 3


def test_it_says_that_these_are_other_files(
    tmp_path: Path, raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = prepare(raw, tmp_path / "out")
    said = capsys.readouterr().out
    last = int((other.period == 8).sum())
    found = f"{other.spec.rows:,} rows, {last:,} of them on day 8"
    assert f"notice: the join gives {found}; the published files give 25,029,426 rows" in said
    assert found in other.spec.source
    sample = read(raw, "raw_sample.csv")
    assert f"{len(sample) - other.spec.rows:,} without a profile or an ad dropped" in said
    assert "2 outside its 22 days dropped" in said

    monkeypatch.setattr(taobao_ad, "PUBLISHED", found)
    same = prepare(raw, tmp_path / "out")
    said = capsys.readouterr().out
    assert f"the join gives {found}, as published" in said and "notice" not in said
    assert same.spec.source == taobao_ad.SOURCE


def copy(raw: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in raw.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_rows_outside_the_days_are_dropped_and_counted(
    tmp_path: Path, raw: Path, prepared: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(raw, tmp_path / "raw")
    strays = [f"1,{time},1,430548_1007,1,0" for time in (FIRST_SECOND - 1, FIRST_SECOND + 8 * DAY)]
    change(folder, "raw_sample.csv", lambda lines: [*strays, *lines])
    other = prepare(folder, tmp_path / "out")
    assert "2 outside the 8 days dropped" in capsys.readouterr().out
    assert other.spec.files == prepared.spec.files


def test_the_dev_variant_drops_the_last_day(
    tmp_path: Path, raw: Path, prepared: PreparedDataset
) -> None:
    dev = prepare(raw, tmp_path / "dev", "--drop-last-period")
    assert dev.spec.dataset_id == "TaobaoAd_dev_s1"
    assert (dev.spec.periods.vertical_train, dev.spec.periods.test) == ((5, 6), (7,))
    rows = prepared.rows_of(range(1, 8))
    assert dev.frame().equals(prepared.frame().iloc[rows])
    assert windows(dev, "cate_his") == windows(prepared, "cate_his")[rows]


def test_no_behaviour_at_all_gives_empty_histories(tmp_path: Path, raw: Path) -> None:
    folder = copy(raw, tmp_path / "raw")
    change(folder, "behavior_log.csv", lambda lines: ["987654,1494000000,pv,1,1"])
    other = prepare(folder, tmp_path / "out")
    assert {tuple(window) for window in windows(other, "btag_his")} == {()}


def shifted(lines: list[str], seconds: int) -> list[str]:
    cells = [line.split(",") for line in lines]
    return [",".join([c[0], str(int(c[1]) + seconds), *c[2:]]) for c in cells]


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("raw_sample.csv", lambda lines: shifted(lines, 30 * DAY), "expected seconds from 1494000"),
        ("raw_sample.csv", lambda lines: [], "has no rows"),
        ("raw_sample.csv", lambda lines: [lines[0][:-1] + "2", *lines], "expected 0 or 1, found"),
        ("raw_sample.csv", lambda lines: [lines[0].replace("430", "x,430"), *lines], "cannot be"),
        ("raw_sample.csv", lambda lines: [",1494000000,1,p,1,0"], "user: expected a value"),
        ("raw_sample.csv", lambda lines: ["oops,1494000000,1,p,1,0"], "cannot be read"),
        (
            "raw_sample.csv",
            lambda lines: [line for line in lines if int(line.split(",")[1]) < 1494604800],
            "that join and none on 2017-05-13 (China time)",
        ),
        ("user_profile.csv", lambda lines: ["555555,1,1,1,1,1,1,1,1"], "no row is in both"),
        ("user_profile.csv", lambda lines: [*lines, lines[0]], "userid: expected one row per"),
        ("ad_feature.csv", lambda lines: [*lines, "5x,1,1,1,1,1"], "adgroup_id: expected numbers"),
        (
            "ad_feature.csv",
            lambda lines: [*lines, "999999,1,1,1,1,dear"],
            "price: expected numbers",
        ),
        ("behavior_log.csv", lambda lines: ["1,1494000000,pv,shoes,1"], "cannot be read"),
        ("behavior_log.csv", lambda lines: ["1,,pv,1,1"], "time_stamp: expected a value"),
    ],
)
def test_bad_values(
    tmp_path: Path,
    raw: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    edit: Callable[[list[str]], list[str]],
    message: str,
) -> None:
    folder = copy(raw, tmp_path / "raw")
    change(folder, name, edit)
    refused(folder, tmp_path / "out", capsys, name, message)


def test_the_first_rows_of_the_log_are_read_until_days_are_missing(
    tmp_path: Path, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = joined(raw).head(100)
    for name, key in (("user_profile.csv", "userid"), ("ad_feature.csv", "adgroup_id")):
        header, *lines = (raw / name).read_text().replace("<NULL>", "NULL").splitlines()
        kept = [line for line in lines if line.partition(",")[0] in set(rows[key])]
        (folder / name).write_text("\n".join([header, *kept]) + "\n")
    columns = ["userid", "time_stamp", "adgroup_id", "pid", "nonclk", "clk"]
    names = ["user", *columns[1:]]
    rows[columns].to_csv(folder / "raw_sample.csv", header=names, index=False)
    assert taobao_ad.cli(["--data", str(folder), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert "raw_sample.csv: 100 rows, 0 outside the 8 days dropped, 0 without" in captured.out
    missing = ", ".join(f"2017-05-{day:02}" for day in range(7, 14))
    assert f"found 100 that join and none on {missing} (China time)" in captured.err
    assert captured.err.count("error:") == 1 and "Traceback" not in captured.err
    assert "behavior_log" not in captured.err


def refused(
    raw: Path, out: Path, capsys: pytest.CaptureFixture[str], name: str, message: str, *more: str
) -> None:
    said = error_of(capsys, taobao_ad, raw, out, *more)
    assert name in said and message in said
    assert not [path for path in out.parent.iterdir() if path not in (raw, out.parent / "raw")]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("raw_sample.csv", "time_stamp", "timestamp"),
        ("ad_feature.csv", "campaign_id", "campaign"),
        ("user_profile.csv", "new_user_class_level ", "new_user_class"),
        ("behavior_log.csv", "cate", "category"),
    ],
)
def test_wrong_headers(
    tmp_path: Path, raw: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str
) -> None:
    folder = copy(raw, tmp_path / "raw")
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace(old, new, 1))
    message = f"missing columns {old.strip()!r} (did you mean {new!r}?)"
    refused(folder, tmp_path / "out", capsys, name, message)


@pytest.mark.parametrize("name", ["raw_sample", "ad_feature", "user_profile", "behavior_log"])
def test_missing_files(
    tmp_path: Path, raw: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = copy(raw, tmp_path / "raw")
    (folder / f"{name}.csv").rename(folder / f"{name}.csv.tar.gz")
    hint = f"no such file; unpack {name}.csv.tar.gz"
    refused(folder, tmp_path / "out", capsys, f"{name}.csv", hint)
    (folder / f"{name}.csv.tar.gz").unlink()
    refused(folder, tmp_path / "out", capsys, f"{name}.csv", "give the folder of the unpacked")


def test_bad_arguments(tmp_path: Path, raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy(raw, tmp_path / "raw")
    out = tmp_path / "out"
    refused(folder, out, capsys, "--memory-limit", "above 0, found 0.0", "--memory-limit", "0")
    refused(tmp_path / "none", out, capsys, "none", "no such folder")
    refused(folder / "raw_sample.csv", out, capsys, "raw_sample.csv", "no such folder")


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    assert taobao_ad.cli(["--data", str(raw), "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "no prepared data set" in told and "Give another --out." in told
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "thesis.txt"]


class TestX1:
    def test_chunks_in_file_order_then_the_test_file(self, tmp_path: Path) -> None:
        raw = taobao_fixture.write_x1(tmp_path / "raw", train=703, test=90)
        other = prepare(raw, tmp_path / "out", "--x1")
        spec = other.spec
        assert (spec.dataset_id, spec.time_unit) == ("TaobaoAdApprox_s1", "ordinal")
        assert "APPROXIMATION" in spec.source and "APPROXIMATION" in spec.period_rule
        assert other.timestamp.tolist() == list(range(793))
        sizes = np.bincount(other.period)[1:]
        assert sizes.sum() == 793 and sizes[7] == 90 and set(sizes[:7]) == {100, 101}
        theirs = pd.concat([read(raw, name) for name in ("train.csv", "test.csv")])
        for name in ("userid", "adgroup_id", "brand", "occupation", "btag"):
            assert other.array(name).tolist() == theirs[name].tolist()
        assert other.label.tolist() == theirs["clk"].astype(int).tolist()
        price = theirs["price"].astype(float)
        expected = np.floor(np.log2(price) * 2).astype(int) + 1
        assert other.array("price").tolist() == expected.astype("str").tolist()

    def test_histories_are_the_published_ones(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        raw = taobao_fixture.write_x1(tmp_path / "raw")
        monkeypatch.setattr(_taobao_files, "BLOCK_BYTES", 1 << 13)
        other = prepare(raw, tmp_path / "out", "--x1")
        theirs = pd.concat([read(raw, name) for name in ("train.csv", "test.csv")])
        for name in HISTORIES:
            texts = theirs[name].tolist()
            assert "" in texts
            assert windows(other, name) == [text.split("^") if text else [] for text in texts]

    def test_a_repeated_history_is_stored_once(self, tmp_path: Path) -> None:
        raw = taobao_fixture.write_x1(tmp_path / "raw")
        single = len(prepare(raw, tmp_path / "single", "--x1").sequence("cate_his")[0])
        change(raw, "train.csv", lambda lines: [line for line in lines for _ in range(2)])
        double = prepare(raw, tmp_path / "double", "--x1")
        assert double.spec.rows == 2 * 700 + 100
        assert len(double.sequence("cate_his")[0]) == single

    def test_checksums_are_compared(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        raw = taobao_fixture.write_x1(tmp_path / "raw")
        other = prepare(raw, tmp_path / "out", "--x1")
        said = capsys.readouterr().out
        assert "notice: train.csv is not the published file: expected md5 eaabfc8629f2" in said
        assert "notice: test.csv is not the published file: expected md5 f5ae6197e52" in said
        assert "not the published" in other.spec.source
        monkeypatch.setattr(_taobao_x1, "PUBLISHED", published(raw, train=700, test=100))
        same = prepare(raw, tmp_path / "out", "--x1")
        assert "notice" not in capsys.readouterr().out
        assert "not the published" not in same.spec.source

    def test_the_dev_variant(self, tmp_path: Path) -> None:
        raw = taobao_fixture.write_x1(tmp_path / "raw")
        dev = prepare(raw, tmp_path / "out", "--x1", "--drop-last-period")
        assert (dev.spec.dataset_id, dev.spec.rows) == ("TaobaoAdApprox_dev_s1", 700)
        assert "test.csv" not in dev.spec.period_rule

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("brand_his", "brand_hist", "missing columns 'brand_his' (did you mean 'brand_hist'?)"),
            ("\n0,", "\n7,", "clk': expected 0 or 1, found [7]"),
            ("\n0,", "\n0," + "^".join("1" * 51) + "^", "btag_his: expected at most 50 tokens"),
        ],
    )
    def test_bad_files(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        old: str,
        new: str,
        message: str,
    ) -> None:
        raw = taobao_fixture.write_x1(tmp_path / "raw")
        text = (raw / "train.csv").read_text()
        (raw / "train.csv").write_text(text.replace(old, new, 1))
        refused(raw, tmp_path / "out", capsys, "train.csv", message, "--x1")

    def test_missing_and_empty_files(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        raw = taobao_fixture.write_x1(tmp_path / "raw", test=0)
        refused(raw, tmp_path / "out", capsys, "test.csv", "has no rows", "--x1")
        (raw / "test.csv").unlink()
        refused(raw, tmp_path / "out", capsys, "test.csv", "no such file", "--x1")


def test_clicks_follow_recent_behaviour(tmp_path: Path) -> None:
    other = prepare(taobao_fixture.write_raw(tmp_path / "raw"), tmp_path / "out")
    recent = [window[-taobao_fixture.RECENT :] for window in windows(other, "cate_his")]
    cate = other.array("cate_id")
    match = np.array([w.count(c) > 2 for w, c in zip(recent, cate, strict=True)])
    assert 0.1 < match.mean() < 0.9
    assert other.label[match].mean() > 0.5 and other.label[~match].mean() < 0.1


@pytest.mark.slow
def test_from_the_files_to_a_leaderboard(tmp_path: Path) -> None:
    raw = taobao_fixture.write_raw(tmp_path / "raw", Size(users=150, impressions=30))
    records = leaderboard("TaobaoAd_s1", raw, tmp_path / "checkout")
    assert list(records) == ["base", "LoopFM"]
