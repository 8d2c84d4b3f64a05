"""Numbers, categories, buckets, periods and histories shared by the preparation scripts."""

from __future__ import annotations

import gzip
from pathlib import Path

import _common
import numpy as np
import pandas as pd
import pytest
from _tables import read_tables
from hypothesis import given
from hypothesis import strategies as st

from fuxictr_loopfm.errors import DataError


class TestValues:
    def test_categories_lose_the_decimal_point_and_gaps_become_empty(self) -> None:
        assert _common.to_category(pd.Series([1.0, np.nan, -124.0])).tolist() == ["1", "", "-124"]
        assert _common.to_category(pd.Series([1.5, np.nan])).tolist() == ["1.5", ""]
        assert _common.to_category(pd.Series(["NA", None, "x"])).tolist() == ["NA", "", "x"]
        assert _common.to_category(pd.Series([True, False])).tolist() == ["1", "0"]
        assert _common.to_category(pd.Series(["b", "a"], dtype="category")).tolist() == ["b", "a"]

    def test_log2_buckets(self) -> None:
        values = pd.Series([0, 1, 2, 3, 4, 7, 8, -1, np.nan, 0.5, 1024])
        expected = ["0", "1", "2", "2", "3", "3", "4", "-", "", "1", "11"]
        assert _common.log2_bucket(values).tolist() == expected

    def test_half_octave_buckets(self) -> None:
        # sqrt(2) = 1.414, 2 * sqrt(2) = 2.83
        values = pd.Series([1, 1.4, 1.5, 2, 2.8, 2.9])
        assert _common.log2_bucket(values, per_octave=2).tolist() == ["1", "1", "2", "3", "3", "4"]

    def test_integers_from_text_and_floats(self) -> None:
        assert _common.to_integers(pd.Series(["7", "-1"]), "f").tolist() == [7, -1]
        assert _common.to_integers(pd.Series([2.0]), "f").dtype == np.int64
        big = 2**60 + 1
        assert _common.to_integers(pd.Series([str(big)]), "f").tolist() == [big]

    @pytest.mark.parametrize("value", ["x", "", "1.5", None])
    def test_what_is_no_integer_is_named(self, value: str | None) -> None:
        with pytest.raises(DataError, match=r"log.csv: ts: expected .* in data row 2 \(1 such"):
            _common.to_integers(pd.Series(["1", value, "3"]), "log.csv: ts")


class TestPeriods:
    def test_days_turn_at_midnight_of_the_time_zone(self) -> None:
        # 2022-04-24 16:00 UTC is midnight of the 25th in Shanghai.
        midnight = int(pd.Timestamp("2022-04-24T16:00Z").timestamp()) * 1000
        day = 86_400_000
        times = np.array([midnight - 1, midnight, midnight + day - 1, midnight + day])
        period, dates = _common.day_periods(times, "ms", "Asia/Shanghai")
        assert period.tolist() == [1, 2, 2, 3]
        assert dates == ["2022-04-24", "2022-04-25", "2022-04-26"]

    def test_a_day_without_rows_leaves_a_gap(self) -> None:
        period, dates = _common.day_periods(np.array([0, 2 * 86_400]), "s", "UTC")
        assert period.tolist() == [1, 3]
        assert len(dates) == 3

    def test_a_clock_going_back_over_midnight_never_goes_back_a_period(self) -> None:
        # In Sao Paulo 2018-02-18 00:00 became 2018-02-17 23:00 (02:00 UTC).
        change = int(pd.Timestamp("2018-02-18T02:00Z").timestamp())
        times = np.array([change - 7200, change - 1, change, change + 3600])
        period, _ = _common.day_periods(times, "s", "America/Sao_Paulo")
        assert (np.diff(period) >= 0).all()
        assert period.tolist()[-1] == 2

    def test_chunks_of_equal_size(self) -> None:
        assert _common.chunk_periods(np.arange(6), 3).tolist() == [1, 1, 2, 2, 3, 3]

    def test_chunks_keep_ties_together(self) -> None:
        times = np.array([1, 2, 2, 2, 5, 6])
        assert _common.chunk_periods(times, 3).tolist() == [1, 2, 2, 2, 3, 3]

    @given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(2, 6))
    def test_no_time_is_in_two_chunks(self, times: list[int], count: int) -> None:
        ordered = np.sort(np.array(times))
        period = _common.chunk_periods(ordered, count)
        assert (np.diff(period) >= 0).all()
        for time in np.unique(ordered):
            assert len(np.unique(period[ordered == time])) == 1

    def test_the_dev_cut_drops_the_last_period_and_renames(self) -> None:
        period = np.array([1, 1, 2, 3, 3])
        assert _common.dev_cut("A_s1", period, 3, True) == ("A_dev_s1", 2, 3)
        assert _common.dev_cut("A_s1", period, 3, False) == ("A_s1", 3, 5)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=30),
    st.integers(1, 4),
)
def test_histories_equal_a_naive_walk(rows: list[tuple[int, int]], max_len: int) -> None:
    rows = sorted(rows, key=lambda row: row[1])
    user, time = (np.array(part, dtype=np.int64) for part in zip(*rows, strict=True))
    token = np.array([f"é{number}" for number in range(len(rows))], dtype=object)
    values, end, length = _common.user_histories(
        _common.EventList(user, time, token), user, time, max_len
    )
    for row in range(len(rows)):
        found = [item.decode() for item in values[end[row] - int(length[row]) : end[row]]]
        past = [
            token[other]
            for other in range(len(rows))
            if user[other] == user[row] and time[other] < time[row]
        ]
        assert found == past[-max_len:]


class TestTables:
    def test_csv_is_read_as_written_and_gz_alike(self, tmp_path: Path) -> None:
        text = 'id,skip,tag\n007,1,"3,4"\n8,2,NA\n9,3,\n'
        (tmp_path / "a.csv").write_text(text)
        (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
        frame = read_tables([tmp_path / "a.csv", tmp_path / "b.csv.gz"], ["tag", "id"])
        assert frame["id"].tolist() == ["007", "8", "9"] * 2
        assert frame["tag"].tolist() == ["3,4", "NA", ""] * 2

    def test_tsv_and_empty_tables(self, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_text("x\ty\n1\t2\n")
        (tmp_path / "b.csv").write_text("x,y\n")
        pd.DataFrame({"x": [1], "y": [2]}).iloc[:0].to_parquet(tmp_path / "c.parquet")
        assert read_tables([tmp_path / "a.tsv"], ["y"])["y"].tolist() == ["2"]
        assert len(read_tables([tmp_path / "b.csv"], ["y"])) == 0
        assert len(read_tables([tmp_path / "c.parquet"], ["y"])) == 0

    def test_parquet_categories_become_plain_values(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        pd.DataFrame({"x": pd.Categorical(["b", None, "a"])}).to_parquet(path)
        frame = read_tables([path], ["x"])
        assert not isinstance(frame["x"].dtype, pd.CategoricalDtype)
        assert frame["x"].isna().tolist() == [False, True, False]

    def test_lists_are_refused(self, tmp_path: Path) -> None:
        pd.DataFrame({"x": [[1, 2]]}).to_parquet(tmp_path / "a.parquet")
        with pytest.raises(DataError, match="x: expected one value per row"):
            read_tables([tmp_path / "a.parquet"], ["x"])

    def test_missing_columns_are_all_named_with_the_nearest(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("userid,clicked\n")
        with pytest.raises(DataError) as caught:
            read_tables([tmp_path / "a.csv"], ["user_id", "zebra", "clicked"])
        assert "'user_id' (did you mean 'userid'?), 'zebra'; found" in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.parquet", b"no parquet"),
            ("a.csv", b""),
            ("a.csv", b"x,y\n1,2\n1\n"),
            ("a.csv", b"x,y\n\xff\xfe,1\n"),
            ("a.csv.gz", b"no gzip"),
            ("a.xlsx", b""),
        ],
    )
    def test_unreadable_files_are_named(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_tables([tmp_path / name], ["x", "y"])

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"none.csv: no such file"):
            read_tables([tmp_path / "none.csv"], ["x"])
