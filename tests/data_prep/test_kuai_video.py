"""KuaiVideo on small files in the published schema, up to a leaderboard."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from statistics import mode

import custom
import h5py
import kuai_video
import kuai_video_fixture as fixture
import numpy as np
import pandas as pd
import pytest
import torch
from _x1 import Published, tied_chunks
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbeddingDict
from leaderboard_toy import leaderboard
from scripts import error_of, prepared_by, published
from scripts import windows as tokens

from fuxictr_loopfm.data.encode import build_view
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.benchmark.configs import Location, dataset_config
from fuxictr_loopfm.prepared.dataset import PreparedDataset

prepare = partial(prepared_by, kuai_video)
HEADER = "timestamp,user_id,item_id,is_click,is_like,is_follow,pos_items,neg_items"
# timestamp, user, item, click: two users, pages of up to two, ties across users.
EVENTS = [
    *((10, 1, 5, 1), (10, 2, 5, 0), (20, 1, 6, 1), (20, 1, 7, 0), (20, 2, 6, 1)),
    *((30, 2, 8, 0), (30, 1, 8, 1), (40, 1, 9, 1), (40, 1, 5, 0), (50, 2, 7, 1)),
    *((50, 2, 9, 0), (60, 1, 7, 1), (60, 1, 6, 0), (70, 2, 5, 0), (70, 1, 9, 1)),
    *((80, 1, 5, 0), (90, 2, 6, 1)),
]
ROWS = [",".join(map(str, event)) + ",0,0,," for event in EVENTS]
TRAIN, TEST = ROWS[:13], ROWS[13:]


def write_rows(folder: Path, train: list[str], test: list[str], header: str = HEADER) -> Path:
    folder.mkdir()
    for name, rows in (("train.csv", train), ("test.csv", test)):
        (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fixture.write(tmp_path_factory.mktemp("kuai") / "raw")


@pytest.fixture(scope="module")
def prepared(raw: Path) -> PreparedDataset:
    return prepare(raw, raw.parent / "out")


def test_a_log_by_hand(tmp_path: Path) -> None:
    prepared = prepare(write_rows(tmp_path / "raw", TRAIN, TEST), tmp_path / "out")
    frame = prepared.frame()
    assert frame["timestamp"].tolist() == [event[0] for event in EVENTS]
    assert frame["user_id"].tolist() == [str(event[1]) for event in EVENTS]
    assert frame["is_click"].tolist() == [event[3] for event in EVENTS]
    # 17 rows, marks every 2.125: the edges 2, 5, 7, 9, 11, 13, 15 are the nearest; 16 is not.
    sizes = [2, 3, 2, 2, 2, 2, 2, 2]
    assert frame["period"].tolist() == np.repeat(range(1, 9), sizes).tolist()
    watched = ["", "", "5", "5", "", "6", "56", "568", "568"]
    watched += ["6", "6", "5689", "5689", "67", "56897", "568979", "67"]
    other = ["", "", "", "", "5", "5", "7", "7", "7"]
    other += ["58", "58", "75", "75", "589", "756", "756", "5895"]
    assert ["".join(history) for history in tokens(prepared, "pos_items")] == watched
    assert ["".join(history) for history in tokens(prepared, "neg_items")] == other


def test_what_the_views_see(prepared: PreparedDataset) -> None:
    spec = prepared.spec
    for view in ("teacher", "vertical"):
        assert [column.name for column in spec.columns_of(view)] == ["user_id", "item_id"]
    both = ("teacher", "vertical")
    assert [(s.name, s.of, s.max_len, s.views) for s in spec.sequences] == [
        ("pos_items", "item_id", 100, both),
        ("neg_items", "item_id", 100, both),
    ]
    assert (spec.label, spec.time_unit, spec.dataset_id) == ("is_click", "ordinal", "KuaiVideo_s1")
    assert (spec.periods.teacher_train, spec.periods.test) == ((1, 2, 3, 4), (8,))


def test_histories_are_the_newest_of_a_full_scan(prepared: PreparedDataset) -> None:
    log = fixture.make_log()
    assert np.array_equal(prepared.timestamp, log["timestamp"])
    for name, wanted in (("pos_items", 1), ("neg_items", 0)):
        found = tokens(prepared, name)
        for row in range(0, len(log), 37):
            now = log.iloc[row]
            past = log[(log["user_id"] == now["user_id"]) & (log["timestamp"] < now["timestamp"])]
            items = past.loc[past["is_click"] == wanted, "item_id"].tail(100)
            assert found[row] == [str(item) for item in items]
        assert max(map(len, found)) == 100


def test_the_planted_interest_is_in_the_histories(prepared: PreparedDataset) -> None:
    """Videos of the genre that the user watched most are watched more often than others."""

    def genre(item: str) -> int:
        return (int(item) - 3) // fixture.ID_GAP % fixture.GENRES

    rows = list(zip(prepared.array("item_id"), tokens(prepared, "pos_items"), strict=True))
    favourite = np.array(
        [mode(map(genre, past)) == genre(item) if past else False for item, past in rows]
    )
    rate = [prepared.label[favourite == wanted].mean() for wanted in (False, True)]
    assert rate[1] > rate[0] + 0.3


def test_long_histories_differ_from_the_published_column(
    raw: Path, prepared: PreparedDataset
) -> None:
    """The published columns stop at the first 100 videos; up to there they are the same."""
    tables = [pd.read_csv(raw / name, dtype=str) for name in ("train.csv", "test.csv")]
    theirs = pd.concat(tables)["pos_items"].fillna("").tolist()
    ours = ["^".join(history) for history in tokens(prepared, "pos_items")]
    full = np.array([text.count("^") == 99 for text in theirs])
    assert full.any() and not full.all()
    assert all(a == b for a, b, cut in zip(ours, theirs, full, strict=True) if not cut)
    last = int(np.flatnonzero(full)[-1])
    assert ours[last] != theirs[last]


def test_periods_hold_whole_timestamps_and_about_equally_many_rows(
    prepared: PreparedDataset,
) -> None:
    frame = prepared.frame(["timestamp", "period"])
    assert (frame.groupby("timestamp")["period"].nunique() == 1).all()
    sizes = frame["period"].value_counts()
    assert len(sizes) == 8 and sizes.max() - sizes.min() <= 8


@pytest.mark.parametrize(
    ("time", "count", "expected"),
    [
        ([0, 1, 2, 3, 4, 5], 3, [1, 1, 2, 2, 3, 3]),
        ([0, 0, 0, 1, 2, 3], 3, [1, 1, 1, 2, 3, 3]),
        ([0, 0, 0, 0, 0, 1, 2], 3, [1, 1, 1, 1, 1, 2, 3]),
        ([0, 1, 2, 2, 2, 2, 2], 3, [1, 2, 3, 3, 3, 3, 3]),
        ([0, 1, 1, 1], 2, [1, 2, 2, 2]),
        ([7, 7, 8, 9], 2, [1, 1, 2, 2]),
        ([0, 1, 1, 2], 2, [1, 2, 2, 2]),
    ],
)
def test_chunks_move_to_the_nearest_tie_edge(
    time: list[int], count: int, expected: list[int]
) -> None:
    assert tied_chunks(np.array(time), count).tolist() == expected


def test_chunks_need_enough_times() -> None:
    with pytest.raises(DataError, match="at least 3 different times for 3 periods, found 2"):
        tied_chunks(np.array([0, 0, 1, 1]), 3)


def test_files_that_overlap_in_time_are_cut_by_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prepared: PreparedDataset
) -> None:
    apart = prepare(write_rows(tmp_path / "apart", TRAIN, TEST), tmp_path / "out1")
    assert "test.csv begins at 70, after train.csv ends at 60" in capsys.readouterr().err
    mixed = prepare(write_rows(tmp_path / "mixed", ROWS[5:], ROWS[:5]), tmp_path / "out2")
    assert "100.0% of test.csv is not later than that" in capsys.readouterr().err
    assert mixed.frame().equals(apart.frame())


def test_other_files_than_the_published_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_rows(tmp_path / "raw", TRAIN, TEST)
    other = prepare(raw, tmp_path / "out")
    message = capsys.readouterr().err
    assert "train.csv is not the published file: expected md5 16f1373441" in message
    assert "10,931,092 rows, found" in message and "13 rows" in message
    assert "not the published ones" in other.spec.source
    known = published(raw, train=13, test=5)
    monkeypatch.setattr(kuai_video, "PUBLISHED", known)
    prepare(raw, tmp_path / "out")
    message = capsys.readouterr().err
    assert "not the published file" not in message
    assert "4 rows were read, expected 5" in message
    monkeypatch.setitem(known, "test.csv", Published(known["test.csv"].md5, 4))
    assert "md5 checked" in prepare(raw, tmp_path / "out").spec.source


def test_the_dev_variant_drops_the_last_chunk(raw: Path, prepared: PreparedDataset) -> None:
    dev = prepare(raw, raw.parent / "dev", "--drop-last-period")
    rows = prepared.rows_of(range(1, 8)).stop
    assert (dev.spec.dataset_id, dev.spec.periods.test) == ("KuaiVideo_dev_s1", (7,))
    assert dev.frame().equals(prepared.frame().iloc[:rows])
    assert tokens(dev, "pos_items") == tokens(prepared, "pos_items")[:rows]


def test_visual_embeddings_serve_as_a_pretrained_column(
    raw: Path, prepared: PreparedDataset, tmp_path: Path
) -> None:
    copy = prepared.folder / "item_visual_emb.h5"
    assert copy.read_bytes() == (raw / "item_visual_emb_dim64.h5").read_bytes()
    nowhere = Location(str(tmp_path), str(prepared.folder), None, None)
    params = dataset_config(prepared.spec, "teacher", nowhere) | {"dataset_id": "visual"}
    params["feature_cols"].append(
        {"name": "item_emb", "active": True, "dtype": "str", "type": "categorical",
         "preprocess": "copy_from(item_id)", "pretrained_emb": str(copy), "pretrain_dim": 64,
         "embedding_dim": 64, "min_categr_count": 1}
    )  # fmt: skip
    view = build_view(prepared, params, "teacher")
    feature_map = FeatureMap("visual", str(view.folder))
    feature_map.load(str(view.feature_map_path), params | {"use_features": ["item_emb"]})
    embedding = FeatureEmbeddingDict(feature_map, 64, required_feature_columns=["item_emb"])
    found = embedding({"item_emb": torch.from_numpy(view.column("item_emb"))})["item_emb"]
    with h5py.File(copy) as file:
        expected = file["value"][:][fixture.make_log()["item_id"]]
    assert np.array_equal(found.numpy(), expected.astype(np.float32))


def test_no_visual_embeddings_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = prepare(write_rows(tmp_path / "raw", TRAIN, TEST), tmp_path / "out")
    assert "item_visual_emb_dim64.h5: no such file" in capsys.readouterr().err
    assert not (prepared.folder / "item_visual_emb.h5").exists()


@pytest.mark.parametrize(
    ("train", "header", "message"),
    [
        (ROWS, HEADER.replace("is_click", "click"), "missing columns 'is_click' (did you mean"),
        (ROWS, HEADER.replace("neg_items", "x"), "missing columns 'neg_items'"),
        ([], HEADER, "train.csv: expected at least one row, found none"),
        (["5,1,5,2,0,0,,", *ROWS], HEADER, "train.csv: is_click': expected 0 or 1, found [2]"),
        (["5,1,5,,0,0,,", *ROWS], HEADER, "train.csv: is_click: expected numbers, found ''"),
        (["x,1,5,1,0,0,,", *ROWS], HEADER, "timestamp: expected numbers, found 'x' in data row 1"),
        (["5.5,1,5,1,0,0,,", *ROWS], HEADER, "timestamp: expected integers, found '5.5'"),
        (["80,2,5,1,0,0,,"] * 9, HEADER, "at least 8 different times for 8 periods, found 1"),
    ],
)
def test_bad_files(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    train: list[str],
    header: str,
    message: str,
) -> None:
    raw = write_rows(tmp_path / "raw", train, ROWS[-2:-1], header)
    assert message in error_of(capsys, kuai_video, raw, tmp_path / "out")


def test_missing_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = write_rows(tmp_path / "raw", ROWS, ROWS)
    (raw / "test.csv").unlink()
    for folder, message in ((raw, "test.csv: no such file"), (raw / "no", "no such folder")):
        assert message in error_of(capsys, kuai_video, folder, tmp_path / "out")


@pytest.mark.slow
def test_from_the_files_to_a_leaderboard(raw: Path, tmp_path: Path) -> None:
    leaderboard("KuaiVideo_s1", raw, tmp_path)


class TestTheChallengesOwnLog:
    """``train_interaction.txt``: no header, eight columns, which x1 was sampled from."""

    def test_it_is_told_from_the_x1_files(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "train_interaction.txt").write_text("7\t5\t1\t0\t0\t761036604603\t3\t11\n")
        said = error_of(capsys, kuai_video, tmp_path, tmp_path / "out")
        assert "found train_interaction.txt, the log of the Kuaishou challenge" in said
        assert "data_prep/custom.py" in said

    def test_the_readmes_spec_prepares_it(self, tmp_path: Path) -> None:
        text = (Path(kuai_video.__file__).parent / "README.md").read_text(encoding="utf-8")
        text = text.partition("## The Kuaishou challenge's own log")[2]
        _, commands, _, spec, _ = text.split("```", 4)
        random = np.random.default_rng(0)
        rows = [
            (user, item, int(item % 3 == 0), 0, 0, 761036604603 + second * 997, item % 3, item)
            for second, (user, item) in enumerate(random.integers(1, 30, (200, 2)))
        ]
        lines = ["\t".join(map(str, row)) for row in rows]
        (tmp_path / "train_interaction.txt").write_text("\n".join(lines) + "\n")
        subprocess.run(["bash", "-ec", commands], cwd=tmp_path, check=True)
        (tmp_path / "spec.yaml").write_text(spec.removeprefix("yaml"))
        out = tmp_path / "out"
        assert custom.cli(["--spec", str(tmp_path / "spec.yaml"), "--out", str(out)]) == 0
        prepared = PreparedDataset.load(out)
        assert prepared.label.tolist() == [row[2] for row in rows]
        assert prepared.timestamp.tolist() == [row[5] for row in rows]
        assert prepared.array("photo_id").tolist() == [str(row[1]) for row in rows]
