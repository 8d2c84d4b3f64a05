"""Prepared data sets: the description, the checks before writing, reading back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.dataset import DatasetSpec, PreparedDataset, write_prepared
from tests.resealed import change_yaml
from tests.unit.prepared.toy import SPEC, START, toy_frame, toy_sequences


@pytest.fixture
def written(tmp_path: Path) -> PreparedDataset:
    return write_prepared(tmp_path / "toy", SPEC, toy_frame(), toy_sequences())


def error_of(
    frame: pd.DataFrame, tmp_path: Path, spec: DatasetSpec = SPEC, **sequences: Any
) -> str:
    with pytest.raises(DataError) as caught:
        write_prepared(tmp_path / "bad", spec, frame, sequences or toy_sequences())
    assert list(tmp_path.iterdir()) == []
    return str(caught.value)


class TestRoundTrip:
    def test_rows_come_back_in_their_stored_types(self, written: PreparedDataset) -> None:
        frame = PreparedDataset.load(written.folder).frame()
        expected = toy_frame()
        assert list(frame.columns) == ["event_id", *expected.columns]
        assert frame["event_id"].tolist() == list(range(6))
        kinds = {"event_id": "i8", "timestamp": "i8", "period": "i4", "click": "i1", "price": "f4"}
        assert {name: frame[name].dtype for name in kinds} == kinds
        for name in expected.columns:
            assert frame[name].tolist() == expected[name].tolist()

    def test_spec_is_completed_and_survives_yaml(self, written: PreparedDataset) -> None:
        spec = PreparedDataset.load(written.folder).spec
        assert spec == replace(SPEC, rows=6, files=spec.files)
        assert sorted(spec.files) == ["events.parquet", "sequences.h5"]
        vertical = [column.name for column in spec.columns_of("vertical")]
        assert vertical == ["user_id", "item_id", "price"]

    def test_cached_arrays_and_rows_of_periods(self, written: PreparedDataset) -> None:
        assert (written.label.tolist(), written.timestamp[-1]) == ([0, 1, 1, 0, 0, 1], START + 9)
        assert written.rows_of([1]) == slice(0, 2)
        assert written.rows_of((2, 3)) == slice(2, 6)

    @pytest.mark.parametrize("periods", [[], [1, 3], [0, 1], [3, 4], [2, 1]])
    def test_rows_of_refuses_gaps_and_unknown_periods(
        self, written: PreparedDataset, periods: list[int]
    ) -> None:
        with pytest.raises(DataError, match="periods"):
            written.rows_of(periods)

    def test_sequence_tokens_of_each_event(self, written: PreparedDataset) -> None:
        values, end, length = written.sequence("seen")
        tokens = [
            [token.decode() for token in values[stop - count : stop]]
            for stop, count in zip(end, length.astype(int), strict=True)
        ]
        assert tokens == [[], [], ["a"], ["a", "ü"], ["b"], ["ü", "a"]]
        assert (end.dtype, length.dtype) == (np.int64, np.uint16)
        with h5py.File(written.folder / "sequences.h5") as file:
            assert all(file["seen"][name].chunks is None for name in ("values", "end", "len"))

    def test_categories_are_plain_text_on_disk(self, tmp_path: Path) -> None:
        frame = toy_frame().astype({"age": "category"})
        written = write_prepared(tmp_path / "toy", SPEC, frame, toy_sequences())
        assert pq.read_schema(written.folder / "events.parquet").field("age").type == "string"
        assert written.array("age").tolist() == ["18", "", "18", "18", "", "18"]

    def test_the_same_data_has_the_same_fingerprint(self, tmp_path: Path) -> None:
        one = write_prepared(tmp_path / "one", SPEC, toy_frame(), toy_sequences())
        two = write_prepared(tmp_path / "two", SPEC, toy_frame(), toy_sequences())
        changed = toy_frame().assign(age="25")
        other = write_prepared(tmp_path / "three", SPEC, changed, toy_sequences())
        assert one.fingerprint == two.fingerprint != other.fingerprint

    def test_describe_names_rows_periods_and_views(self, written: PreparedDataset) -> None:
        text = written.describe()
        assert "Toy_s1: 6 events, 2 users, 4 items, click rate 0.5000" in text
        assert "vertical: 3 columns: user_id, item_id, price" in text
        assert "seen: newest 2 item_id before each event, 1.0 on average, 33.3% empty" in text
        assert sum("2 events" in line for line in text.splitlines()) == 3


class TestWriterRefuses:
    def test_missing_column_with_the_nearest_one(self, tmp_path: Path) -> None:
        text = error_of(toy_frame().rename(columns={"item_id": "items_id"}), tmp_path)
        assert "'item_id' is missing" in text and "did you mean 'items_id'" in text

    def test_empty_log(self, tmp_path: Path) -> None:
        assert "empty" in error_of(toy_frame().iloc[:0], tmp_path)

    def test_labels_other_than_0_and_1(self, tmp_path: Path) -> None:
        text = error_of(toy_frame().assign(click=[0, 1, 1, 0, 5, 1]), tmp_path)
        assert "expected 0 or 1, found [5] in 1 of 6 rows" in text

    def test_rows_out_of_time_order(self, tmp_path: Path) -> None:
        frame = toy_frame()
        frame.loc[3, "timestamp"] = START + 4
        text = error_of(frame, tmp_path)
        assert f"found {START + 4} after {START + 5} in row 3" in text

    @pytest.mark.parametrize(("factor", "unit"), [(1_000, "ms"), (1_000_000, "us")])
    def test_times_in_another_unit(self, tmp_path: Path, factor: int, unit: str) -> None:
        frame = toy_frame()
        frame["timestamp"] *= factor
        assert f"they fit unit '{unit}'" in error_of(frame, tmp_path)
        moved = replace(SPEC, time_unit=unit)
        assert "they fit unit 's'" in error_of(toy_frame(), tmp_path, spec=moved)

    def test_ordinal_times_may_be_anything(self, tmp_path: Path) -> None:
        frame = toy_frame().assign(timestamp=[-3, -2, -2, 0, 1, 2])
        spec = replace(SPEC, time_unit="ordinal")
        written = write_prepared(tmp_path / "toy", spec, frame, toy_sequences())
        assert written.timestamp.tolist() == [-3, -2, -2, 0, 1, 2]

    @pytest.mark.parametrize(
        ("period", "message"),
        [
            ([1, 1, 2, 2, 2, 2], "period 3 of 3: expected at least one row"),
            ([1, 1, 2, 1, 3, 3], "expected non-decreasing, found 1 after 2 in row 3"),
            ([0, 1, 2, 2, 3, 3], "expected 1 to 3, found 0 to 3"),
            ([1, 1, 2, 2, 3, 4], "expected 1 to 3, found 1 to 4"),
        ],
    )
    def test_periods_that_do_not_fit(self, tmp_path: Path, period: list[int], message: str) -> None:
        assert message in error_of(toy_frame().assign(period=period), tmp_path)

    def test_a_period_of_one_class(self, tmp_path: Path) -> None:
        text = error_of(toy_frame().assign(click=[0, 1, 1, 1, 0, 1]), tmp_path)
        assert "period 2 of 3: expected both classes, all 2 labels are 1" in text

    @pytest.mark.parametrize("name", ["age", "price", "surface", "click", "timestamp"])
    def test_missing_values(self, tmp_path: Path, name: str) -> None:
        frame = toy_frame().astype({name: object})
        frame.loc[4, name] = None
        text = error_of(frame, tmp_path)
        assert repr(name) in text and "1 missing values, the first in row 4" in text

    def test_numbers_where_text_belongs(self, tmp_path: Path) -> None:
        assert "'age': expected text" in error_of(toy_frame().assign(age=18), tmp_path)

    @pytest.mark.parametrize("value", [np.inf, 1e39])
    def test_numbers_beyond_float32(self, tmp_path: Path, value: float) -> None:
        frame = toy_frame()
        frame.loc[2, "price"] = value
        assert "'price': row 2: expected a finite float32" in error_of(frame, tmp_path)

    @pytest.mark.parametrize(
        ("part", "row", "value"), [(1, 5, 7), (1, 5, 1), (2, 3, 3), (1, 0, -1)]
    )
    def test_pointers_outside_their_values(
        self, tmp_path: Path, part: int, row: int, value: int
    ) -> None:
        arrays = toy_sequences()["seen"]
        arrays[part][row] = value
        assert f"sequence 'seen': row {row}" in error_of(toy_frame(), tmp_path, seen=arrays)

    def test_sequences_that_the_spec_does_not_name(self, tmp_path: Path) -> None:
        text = error_of(toy_frame(), tmp_path, other=toy_sequences()["seen"])
        assert "expected ['seen'], found ['other']" in text

    def test_pointers_for_fewer_rows(self, tmp_path: Path) -> None:
        values, end, length = toy_sequences()["seen"]
        short = (values, end[:5], length)
        assert "end: expected 6 integers" in error_of(toy_frame(), tmp_path, seen=short)

    def test_a_folder_with_other_files_is_never_replaced(self, tmp_path: Path) -> None:
        precious = tmp_path / "home" / "thesis.txt"
        precious.parent.mkdir()
        precious.write_text("years of work")
        with pytest.raises(DataError, match="no prepared data set"):
            write_prepared(precious.parent, SPEC, toy_frame(), toy_sequences())
        assert precious.read_text() == "years of work"

    def test_an_earlier_version_is_replaced_as_a_whole(self, written: PreparedDataset) -> None:
        write_prepared(written.folder, replace(SPEC, sequences=()), toy_frame())
        names = sorted(path.name for path in written.folder.iterdir())
        assert names == ["dataset.yaml", "events.parquet"]

    def test_a_target_below_a_file_is_one_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match="cannot be written"):
            write_prepared(tmp_path / "file" / "toy", SPEC, toy_frame(), toy_sequences())


class TestReaderRefuses:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"dataset.yaml: cannot be read .*data_prep/"):
            PreparedDataset.load(tmp_path / "none")

    def test_another_schema_or_version(self, written: PreparedDataset) -> None:
        path = written.folder / "dataset.yaml"
        change_yaml(path, lambda entries: entries.update(version=2))
        with pytest.raises(DataError, match="version: expected major version 1, found 2"):
            PreparedDataset.load(written.folder)
        change_yaml(path, lambda entries: entries.update(version=1, schema="loopfm.store"))
        with pytest.raises(DataError, match="schema"):
            PreparedDataset.load(written.folder)

    @pytest.mark.parametrize("text", ["", "[1, 2", "just text", "\x00"])
    def test_a_damaged_description(self, written: PreparedDataset, text: str) -> None:
        (written.folder / "dataset.yaml").write_text(text)
        with pytest.raises(DataError, match="dataset.yaml"):
            PreparedDataset.load(written.folder)

    @pytest.mark.parametrize("name", ["events.parquet", "sequences.h5"])
    def test_a_missing_file(self, written: PreparedDataset, name: str) -> None:
        (written.folder / name).unlink()
        with pytest.raises(DataError, match=f"{name}: is missing"):
            PreparedDataset.load(written.folder)

    def test_truncated_files(self, written: PreparedDataset) -> None:
        for path in (written.folder / "sequences.h5", written.folder / "events.parquet"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match=r"sequences.h5: sha256: expected"):
            written.sequence("seen")
        with pytest.raises(DataError, match=r"events.parquet: sha256: expected"):
            PreparedDataset.load(written.folder)

    def test_verify_finds_one_changed_byte(self, written: PreparedDataset) -> None:
        written.verify()
        path = written.folder / "events.parquet"
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"events.parquet: sha256: expected .* in bytes 0 to"):
            written.verify()

    def test_one_changed_entry_is_named(self, written: PreparedDataset) -> None:
        path = written.folder / "dataset.yaml"
        path.write_text(path.read_text().replace("rows: 6", "rows: 7"))
        with pytest.raises(DataError, match=r"dataset.yaml: rows: does not fit the seal"):
            PreparedDataset.load(written.folder)

    def test_a_description_of_an_earlier_release_is_read(self, written: PreparedDataset) -> None:
        path = written.folder / "dataset.yaml"
        text = yaml.safe_dump(written.spec.to_dict(), sort_keys=False)
        path.write_text(text)
        found = PreparedDataset.load(written.folder)
        assert found.fingerprint == written.fingerprint
        found.verify()

    def test_a_row_count_that_differs(self, written: PreparedDataset) -> None:
        path = written.folder / "dataset.yaml"
        change_yaml(path, lambda entries: entries.update(rows=7))
        with pytest.raises(DataError, match="expected 7 rows, found 6"):
            PreparedDataset.load(written.folder)

    def test_unknown_columns_and_sequences(self, written: PreparedDataset) -> None:
        with pytest.raises(DataError, match="no column 'prise' .did you mean 'price'"):
            written.frame(["prise"])
        with pytest.raises(DataError, match=r"no sequence 'liked'; it has \['seen'\]"):
            written.sequence("liked")
