"""Views of a prepared data set: FuxiCTR's ids, splits, reuse, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from fuxictr_build import fuxictr_build
from tiny_log import MAX_LEN, history_strings, item_histories, log_frame, log_spec

from fuxictr_loopfm.data.columns import ColumnPlan, with_histories
from fuxictr_loopfm.data.encode import EncodedView, build_view
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.files.seals import with_seal, without_seal
from fuxictr_loopfm.prepared.dataset import Periods, PreparedDataset, SequenceColumn, write_prepared

HISTORY = {"name": "past", "active": True, "dtype": "float", "type": "loopfm_sequence", "key": "u"}


def _reference(tmp_path: Path, params: dict[str, Any]) -> Any:
    """FuxiCTR's build of the teacher's view, from csv files with written-out histories."""
    frame = log_frame().assign(item_his=history_strings(range(12)))
    files = {"train": tmp_path / "train.csv", "test": tmp_path / "test.csv"}
    frame.iloc[:6].to_csv(files["train"], index=False)
    frame.iloc[6:].to_csv(files["test"], index=False)
    group = {"name": "group_id", "active": True, "dtype": "str", "type": "meta"}
    group["preprocess"] = "copy_from(user)"
    columns = [*params["feature_cols"], group]
    root = str(tmp_path / "fuxictr")
    return fuxictr_build({**params, "feature_cols": columns, "data_root": root}, files)


@pytest.mark.parametrize(
    ("min_count", "item_count", "padding"), [(1, 1, "pre"), (2, 2, "post"), (1, 3, "pre")]
)
def test_ids_equal_those_of_fuxictr(
    prepared: PreparedDataset,
    params: dict[str, Any],
    tmp_path: Path,
    min_count: int,
    item_count: int,
    padding: str,
) -> None:
    params["min_categr_count"] = min_count
    item = {"name": "item", "active": True, "dtype": "str", "type": "categorical"}
    params["feature_cols"][0]["name"] = ["user"]
    params["feature_cols"].insert(1, {**item, "min_categr_count": item_count})
    params["feature_cols"][-1]["padding"] = padding
    feature_map, vocabulary, columns = _reference(tmp_path, params)

    view = build_view(prepared, params, "teacher")

    assert json.loads((view.folder / "feature_vocab.json").read_text()) == vocabulary
    found = json.loads(view.feature_map_path.read_text())
    assert found["features"] == [
        *feature_map["features"][:-1],
        {"event_id": {"type": "meta"}},
        feature_map["features"][-1],
    ]
    for key in ("num_fields", "total_features", "labels"):
        assert found[key] == feature_map[key], key
    for name in ("user", "item", "hour", "group_id", "price", "click"):
        expected = np.concatenate([columns["train"][name], columns["test"][name]])
        np.testing.assert_allclose(view.column(name), expected, rtol=1e-6, err_msg=name)
    expected = np.concatenate([columns["train"]["item_his"], columns["test"]["item_his"]])
    np.testing.assert_array_equal(_written_out(view, "item_his"), expected)


def _written_out(view: EncodedView, name: str) -> np.ndarray:
    codes, end, length, max_len = view.sequence(name)
    rows = np.zeros((len(end), max_len), dtype=np.int64)
    for row, (stop, size) in enumerate(zip(end, length, strict=True)):
        window = codes[stop - size : stop]
        if view.padding(name) == "pre":
            rows[row, max_len - size :] = window
        else:
            rows[row, :size] = window
    return rows


def test_columns_are_counted_one_at_a_time(
    prepared: PreparedDataset, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once, the table would be mapped once a column: beyond any limit on a large log."""
    asked, collect_all = [], pl.collect_all

    def counted(frames: list[pl.LazyFrame], **kwargs: Any) -> list[pl.DataFrame]:
        asked.append(len(frames))
        return collect_all(frames, **kwargs)

    monkeypatch.setattr(pl, "collect_all", counted)
    build_view(prepared, params, "teacher")
    # user, item, hour, price and the group; the history is counted without its table.
    assert asked == [1] * 5


def test_a_token_from_the_history_only_joins_the_shared_vocabulary(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    # In the teacher's rows item b occurs twice, but only once in a visible history window.
    params["feature_cols"][0]["min_categr_count"] = 3
    view = build_view(prepared, params, "teacher")
    vocabulary = json.loads((view.folder / "feature_vocab.json").read_text())
    assert vocabulary["item"] == {"__PAD__": 0, "a": 1, "b": 2, "__OOV__": 3}
    assert vocabulary["item_his"] == vocabulary["item"]


def test_a_sequence_of_its_own_values_has_its_own_vocabulary(
    params: dict[str, Any], tmp_path: Path
) -> None:
    values, end, length = item_histories()
    marks = np.where(values == b"a", b"1", b"0")
    spec = log_spec()
    spec = log_spec(sequences=(*spec.sequences, SequenceColumn("marks", None, MAX_LEN)))
    sequences = {"item_his": (values, end, length), "marks": (marks, end, length)}
    prepared = write_prepared(tmp_path / "marked", spec, log_frame(), sequences)
    his = params["feature_cols"][-1]
    unshared = {key: his[key] for key in his if key != "share_embedding"}
    params["feature_cols"] = [*params["feature_cols"], {**unshared, "name": "marks"}]
    view = build_view(prepared, params, "teacher")
    vocabulary = json.loads((view.folder / "feature_vocab.json").read_text())
    assert sorted(vocabulary["marks"]) == ["0", "1", "__OOV__", "__PAD__"]
    item, mark = (_written_out(view, name) for name in ("item_his", "marks"))
    assert ((mark == vocabulary["marks"]["1"]) == (item == vocabulary["item"]["a"])).all()
    assert ((mark == 0) == (item == 0)).all()


def test_future_tokens_do_not_reach_the_vocabulary(
    prepared: PreparedDataset, params: dict[str, Any], tmp_path: Path
) -> None:
    values, end, length = item_histories()
    # u1's item of event 6 (log period) is the fourth of its six flat tokens.
    altered = values.copy()
    altered[3] = b"z"
    other = write_prepared(
        tmp_path / "other", log_spec(), log_frame(), {"item_his": (altered, end, length)}
    )
    one = build_view(prepared, params, "teacher")
    two = build_view(other, {**params, "dataset_id": "other"}, "teacher")
    vocabularies = [(v.folder / "feature_vocab.json").read_text() for v in (one, two)]
    assert vocabularies[0] == vocabularies[1]


def test_a_sequence_without_frequent_tokens_keeps_the_shared_vocabulary(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    params["feature_cols"][-1]["min_categr_count"] = 50
    view = build_view(prepared, params, "teacher")
    vocabulary = json.loads((view.folder / "feature_vocab.json").read_text())
    assert vocabulary["item_his"] == {"__PAD__": 0, "a": 1, "b": 2, "c": 3, "__OOV__": 4}


def test_a_column_without_frequent_values_is_refused(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    params["min_categr_count"] = 100
    with pytest.raises(DataError, match="column user: .*min_categr_count=100 times"):
        build_view(prepared, params, "teacher")
    assert not list(Path(params["data_root"]).rglob("encoded.json"))


def test_the_teacher_view_has_train_and_log(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    view = build_view(prepared, params, "teacher")
    assert (view.rows("train"), view.rows("log")) == (slice(0, 6), slice(6, 12))
    table = pq.read_table(view.path("log"))
    assert table["event_id"].to_pylist() == [6, 7, 8, 9, 10, 11]
    with pytest.raises(DataError, match="expected a split of .*'train'.*found 'test'"):
        view.rows("test")


def test_the_vertical_view_is_fitted_on_its_own_train_split(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    params["feature_cols"] = params["feature_cols"][:1]
    view = build_view(prepared, params, "vertical")
    assert view.rows("warmup") == slice(0, 6)
    assert view.rows("train") == slice(6, 9)
    assert view.rows("test") == slice(9, 12)
    # Period 3 holds u1, u2, u3 and the items d, a, d: d is most frequent and comes first.
    np.testing.assert_array_equal(view.column("item"), [2, 3, 2, 3, 2, 3, 1, 2, 1, 3, 2, 1])
    np.testing.assert_array_equal(view.column("user"), [1, 2, 1, 3, 2, 1, 1, 2, 3, 1, 4, 2])
    np.testing.assert_array_equal(view.column("event_id"), np.arange(12))
    np.testing.assert_array_equal(view.labels, log_frame()["click"])


def test_events_between_the_splits_are_encoded_too(params: dict[str, Any], tmp_path: Path) -> None:
    gap = Periods(4, (1,), (3, 4), (3,), (4,))
    frame = log_frame()
    prepared = write_prepared(
        tmp_path / "gap", log_spec(periods=gap), frame, {"item_his": item_histories()}
    )
    view = build_view(prepared, params, "teacher")
    assert (view.rows("train"), view.rows("log")) == (slice(0, 3), slice(6, 12))
    np.testing.assert_array_equal(view.column("event_id"), np.arange(12))


def test_an_unchanged_configuration_is_reused_and_a_changed_one_rebuilt(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    first = build_view(prepared, params, "teacher")
    written = first.path("train").stat().st_mtime_ns
    again = build_view(prepared, params, "teacher")
    assert again.fingerprint == first.fingerprint
    assert again.path("train").stat().st_mtime_ns == written

    changed = build_view(prepared, {**params, "min_categr_count": 2}, "teacher")
    assert changed.fingerprint != first.fingerprint
    assert changed.column("item").max() < again.labels.size
    assert "c" not in json.loads((changed.folder / "feature_vocab.json").read_text())["item"]


def test_a_view_that_is_in_use_stays_when_another_process_changes_the_settings(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    view = build_view(prepared, params, "teacher")
    before = {path.name: path.read_bytes() for path in view.folder.iterdir()}
    other = build_view(prepared, {**params, "min_categr_count": 2}, "teacher")
    assert other.folder != view.folder and other.folder.parent == view.folder.parent
    assert {path.name: path.read_bytes() for path in view.folder.iterdir()} == before


def test_a_view_of_an_earlier_release_and_raw_files_stay_beside_the_folders(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    folder = Path(params["data_root"]) / "tiny_teacher"
    folder.mkdir(parents=True)
    for name in ("raw.csv", "encoded.json", "train.parquet"):
        (folder / name).write_text("mine")
    view = build_view(prepared, params, "teacher")
    assert view.folder == folder / f"view-{view.fingerprint}"
    for name in ("raw.csv", "encoded.json", "train.parquet"):
        assert (folder / name).read_text() == "mine"


def test_a_changed_file_of_pretrained_embeddings_makes_another_view(
    prepared: PreparedDataset, params: dict[str, Any], tmp_path: Path
) -> None:
    table = tmp_path / "items.npz"
    params["feature_cols"][0]["name"] = ["user"]
    params["feature_cols"].insert(
        1,
        {"name": "item", "active": True, "dtype": "str", "type": "categorical"}
        | {"pretrained_emb": str(table), "pretrain_dim": 2},
    )
    found = []
    for value in (0.5, 1.5):
        np.savez(table, key=np.array(["a", "b"]), value=np.full((2, 2), value, np.float32))
        found.append(build_view(prepared, params, "teacher"))
    one, two = (np.load(view.folder / "pretrained_item.npz")["value"][0, 0] for view in found)
    assert (one, two) == (0.5, 1.5)
    table.unlink()
    with pytest.raises(DataError, match="item: pretrained_emb: .*items.npz: cannot be read"):
        build_view(prepared, params, "teacher")


def test_a_damaged_folder_is_refused_by_open_and_rebuilt_by_build(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    view = build_view(prepared, params, "teacher")
    os.truncate(view.path("log"), 10)
    with pytest.raises(DataError, match="log.parquet: size: expected .* bytes, found 10"):
        EncodedView.open(view.folder)
    build_view(prepared, params, "teacher").verify()


@pytest.mark.parametrize("name", ["rows", "splits", "files"])
def test_a_manifest_that_lacks_an_entry_is_refused_and_written_again(
    prepared: PreparedDataset, params: dict[str, Any], name: str
) -> None:
    view = build_view(prepared, params, "teacher")
    path = view.folder / "encoded.json"
    entries = without_seal(json.loads(path.read_text()))
    del entries[name]
    path.write_text(json.dumps(with_seal(entries)))
    with pytest.raises(DataError, match=f"encoded.json: {name}: missing. Delete encoded.json"):
        EncodedView.open(view.folder)
    build_view(prepared, params, "teacher").verify()


def test_verify_finds_a_changed_file_of_the_same_size(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    view = build_view(prepared, params, "teacher")
    path = view.folder / "feature_vocab.json"
    path.write_text(path.read_text().replace("u1", "u9"))
    with pytest.raises(DataError, match="feature_vocab.json: sha256: expected .* in bytes 0 to"):
        EncodedView.open(view.folder).verify()


def test_chunks_that_polars_ends_early_are_a_stop_and_no_shorter_file(
    prepared: PreparedDataset, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pl.LazyFrame.collect_batches

    def interrupted(frame: pl.LazyFrame, **how: Any) -> Iterator[pl.DataFrame]:
        for batch in whole(frame, **how):
            yield batch.head(len(batch) - 1)

    monkeypatch.setattr(pl.LazyFrame, "collect_batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_view(prepared, params, "teacher")
    monkeypatch.undo()
    build_view(prepared, params, "teacher").verify()


def test_an_interrupted_build_is_not_readable(
    prepared: PreparedDataset, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("fuxictr_loopfm.data.artifact.file_record", fails)
    with pytest.raises(OSError, match="tiny_teacher"):
        build_view(prepared, params, "teacher")
    monkeypatch.undo()
    folder = Path(params["data_root"]) / "tiny_teacher"
    assert [path.name for path in folder.iterdir() if not path.name.endswith(".lock")] == []
    build_view(prepared, params, "teacher").verify()


def test_two_views_of_one_dataset_id_do_not_disturb_each_other(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    params["feature_cols"] = params["feature_cols"][:1]
    teacher = build_view(prepared, params, "teacher")
    assert build_view(prepared, params, "vertical").view == "vertical"
    assert EncodedView.open(teacher.folder).view == "teacher"


def test_configurations_with_and_without_a_history_share_a_view(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    plain = build_view(prepared, params, "teacher")
    written = plain.path("train").stat().st_mtime_ns
    columns = [params["feature_cols"][0], HISTORY, *params["feature_cols"][1:]]
    view = build_view(prepared, {**params, "feature_cols": columns}, "teacher")

    assert view.fingerprint == plain.fingerprint
    assert view.path("train").stat().st_mtime_ns == written
    assert "past" not in view.feature_map_path.read_text()
    described = json.loads(view.feature_map_path.read_text())
    features = {name: spec for entry in described["features"] for name, spec in entry.items()}
    found = with_histories(features, ColumnPlan.from_params({**params, "feature_cols": columns}))
    assert list(found)[:4] == ["user", "item", "past", "hour"]
    assert found.pop("past") == {k: v for k, v in HISTORY.items() if k != "name"}
    assert found == features


def test_a_shorter_max_len_keeps_the_newest_tokens(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    params["feature_cols"][-1] |= {"max_len": 2, "padding": "post"}
    view = build_view(prepared, params, "teacher")
    # Event 6 saw a, a, b; the vocabulary is a=1, b=2, c=3.
    assert _written_out(view, "item_his")[6].tolist() == [1, 2]


def test_inactive_columns_are_dropped(prepared: PreparedDataset, params: dict[str, Any]) -> None:
    params["feature_cols"][1]["active"] = False
    view = build_view(prepared, params, "teacher")
    assert "hour" not in pq.read_schema(view.path("train")).names


def test_the_group_may_be_a_named_column(prepared: PreparedDataset, params: dict[str, Any]) -> None:
    params["feature_cols"] = [{"name": "user", "dtype": "str", "type": "categorical"}]
    view = build_view(prepared, {**params, "group_id": "item"}, "teacher")
    assert view.group_id == "item"
    # Numbered by frequency in all events, also those after the train split: a, d, b, c, e.
    np.testing.assert_array_equal(view.column("item"), [1, 3, 1, 4, 1, 3, 2, 1, 2, 5, 1, 2])


def test_unknown_and_forbidden_columns_are_reported_together(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    columns = [
        {"name": ["segment", "itm"], "dtype": "str", "type": "categorical"},
        {"name": "user", "dtype": "str", "type": "categorical"},
    ]
    with pytest.raises(ConfigError) as error:
        build_view(prepared, {**params, "feature_cols": columns}, "vertical")
    assert [p.split(":")[1].strip() for p in error.value.problems] == ["segment", "itm"]
    assert "the vertical view of" in error.value.problems[0]


def test_a_max_len_beyond_the_prepared_one_is_refused(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    params["feature_cols"][-1]["max_len"] = MAX_LEN + 1
    with pytest.raises(ConfigError, match="item_his: max_len: expected at most 3"):
        build_view(prepared, params, "teacher")


def test_values_that_do_not_fit_the_dtype_are_a_data_error(
    prepared: PreparedDataset, params: dict[str, Any]
) -> None:
    params["feature_cols"] = [{"name": "item", "dtype": "int", "type": "categorical"}]
    with pytest.raises(DataError, match="cannot be encoded as configured"):
        build_view(prepared, params, "teacher")


def test_a_log_without_sequences(params: dict[str, Any], tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "flat", log_spec(sequences=()), log_frame())
    params["feature_cols"] = params["feature_cols"][:-1]
    view = build_view(prepared, params, "teacher")
    with pytest.raises(DataError, match="prepared sequences"):
        view.sequence("item_his")
    frame = pd.DataFrame({n: view.column(n) for n in ("user", "item")})
    assert len(frame.drop_duplicates()) == 9
