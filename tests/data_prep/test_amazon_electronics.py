"""Amazon Electronics on small files in the published schema, up to a leaderboard."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import amazon_electronics
import amazon_fixture as fixture
import numpy as np
import pandas as pd
import pytest
from _lives import history_lengths, lives
from leaderboard_toy import leaderboard
from scripts import error_of, prepared_by, published
from scripts import windows as tokens

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.dataset import PreparedDataset

prepare = partial(prepared_by, amazon_electronics)
# User 1 has ten reviews, user 2 five; item i is of category i % 9.
TWO_LIVES = [[10, 11, 12, 13, 14, 15, 16, 17, 18, 19], [20, 21, 22, 23, 24]]


def by_hand() -> tuple[pd.DataFrame, pd.DataFrame]:
    return fixture.rows_of(TWO_LIVES)


def published_rows(raw: Path) -> pd.DataFrame:
    """The raw rows with their position, as text, test rows marked."""
    tables = [
        pd.read_csv(raw / name, dtype=str).assign(test=name == "test.csv")
        for name in ("train.csv", "test.csv")
    ]
    rows = pd.concat(tables, ignore_index=True)
    return rows.assign(position=[len(text.split("^")) for text in rows["item_history"]])


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fixture.write(tmp_path_factory.mktemp("amazon") / "raw")


@pytest.fixture(scope="module")
def prepared(raw: Path) -> PreparedDataset:
    return prepare(raw, raw.parent / "out")


def test_two_lives_by_hand(tmp_path: Path) -> None:
    prepared = prepare(fixture.write(tmp_path / "raw", by_hand()), tmp_path / "out")
    frame = prepared.frame()
    # User 0: positions 1 to 8 train, 9 tests; user 1: 1 to 3 train, 4 tests. A pair each.
    shared, alone = [1] * 4 + [2] * 4 + [3] * 4, [4, 4, 5, 5, 6, 6, 7, 7, 8, 8]
    # 22 training rows, marks every 3.14, edges 4, 8, 12, 14, 16, 18, 20. Nearest would be 4, 8, 8,
    # 12, 16, 18: no period may be empty, so the third takes 12 and the fourth 14.
    assert frame["period"].tolist() == np.repeat(range(1, 9), [4, 4, 4, 2, 2, 2, 4, 4]).tolist()
    # Test rows go on after position 8: 9 + 4 and 9 + 9.
    assert frame["timestamp"].tolist() == [*shared, *alone, 13, 13, 18, 18]
    assert frame["user_id"].tolist()[-4:] == ["1", "1", "0", "0"]
    items = tokens(prepared, "item_history")
    assert items[-4:] == [["20", "21", "22", "23"]] * 2 + [[str(i) for i in range(10, 19)]] * 2
    assert tokens(prepared, "cate_history")[-4] == ["2", "3", "4", "5"]
    assert items[:2] == [["10"]] * 2 and items[2:4] == [["20"]] * 2
    assert frame["item_id"][0] == "11" and frame["cate_id"][0] == "2"
    assert frame["label"].tolist() == [1, 0] * 13


def test_what_the_views_see(prepared: PreparedDataset) -> None:
    spec = prepared.spec
    for view in ("teacher", "vertical"):
        assert [column.name for column in spec.columns_of(view)] == ["item_id", "cate_id"]
    both = ("teacher", "vertical")
    assert [(s.name, s.of, s.max_len, s.views) for s in spec.sequences] == [
        ("item_history", "item_id", 100, both),
        ("cate_history", "cate_id", 100, both),
    ]
    assert (spec.user, spec.side_columns, spec.time_unit) == ("user_id", ("user_id",), "ordinal")
    assert (spec.periods.teacher_train, spec.periods.test) == ((1, 2, 3, 4), (8,))


def test_every_row_keeps_its_own_histories(raw: Path, prepared: PreparedDataset) -> None:
    """Whatever the order of the rows: newest 100 entries of the row's own text, side by side."""
    expected = sorted(
        (row.user_id, row.item_id, row.cate_id, row.label,
         tuple(row.item_history.split("^")[-100:]), tuple(row.cate_history.split("^")[-100:]))
        for row in published_rows(raw).itertuples()
    )  # fmt: skip
    frame = prepared.frame()
    found = sorted(
        zip(
            *(frame[name] for name in ("user_id", "item_id", "cate_id")),
            frame["label"].astype(str),
            map(tuple, tokens(prepared, "item_history")),
            map(tuple, tokens(prepared, "cate_history")),
            strict=True,
        )
    )
    assert found == expected
    assert max(len(row[4]) for row in found) == 100


def test_periods_are_ranges_of_positions_then_the_test_file(
    raw: Path, prepared: PreparedDataset
) -> None:
    frame, rows = prepared.frame(), published_rows(raw)
    last = rows.loc[~rows["test"], "position"].max()
    train = frame[frame["period"] < 8]
    assert (train.groupby("timestamp")["period"].nunique() == 1).all()
    assert train["timestamp"].tolist() == sorted(rows.loc[~rows["test"], "position"])
    test = frame[frame["period"] == 8]
    assert (test["timestamp"] - last - 1).tolist() == sorted(rows.loc[rows["test"], "position"])
    assert test["user_id"].value_counts().eq(2).all() and test["user_id"].nunique() == 160
    sizes = train["period"].value_counts()
    assert sizes.min() > 0.6 * len(train) / 7


def test_a_positive_and_its_negative_share_user_time_and_history(
    prepared: PreparedDataset,
) -> None:
    frame = prepared.frame().assign(history=["^".join(h) for h in tokens(prepared, "item_history")])
    pairs = frame.groupby(["user_id", "timestamp"])
    assert (pairs["label"].sum() == 1).all() and (pairs.size() == 2).all()
    assert (pairs["history"].nunique() == 1).all()


def test_the_planted_interest_is_in_the_histories(prepared: PreparedDataset) -> None:
    """Reviewed items are mostly of a category that the user knows, random ones are not."""
    frame = prepared.frame()
    known = [
        category in history
        for category, history in zip(
            frame["cate_id"], tokens(prepared, "cate_history"), strict=True
        )
    ]
    share = frame.assign(known=known).groupby("label")["known"].mean()
    assert share[1] > share[0] + 0.3


def test_the_order_of_the_rows_changes_no_history(raw: Path, tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        parts = [
            pd.read_csv(raw / name).sample(frac=1, random_state=seed)
            for name in ("train.csv", "test.csv")
        ]
        again = prepare(fixture.write(tmp_path / str(seed), (parts[0], parts[1])), tmp_path / "out")
        frame = again.frame().drop(columns="event_id").astype(str)
        frame["items"] = ["^".join(history) for history in tokens(again, "item_history")]
        found.append(frame.sort_values(list(frame.columns), ignore_index=True))
    assert found[0].equals(found[1])


def test_reports(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(fixture.write(tmp_path / "raw", by_hand()), tmp_path / "out")
    message = capsys.readouterr().err
    # 22 rows in order of users: only one of 21 neighbours changes; chance is (16² + 6²) / 22².
    assert "95.24% of neighbouring rows of train.csv share a user, 60.33% would" in message
    assert "11 of 11 positives stand at their own position" in message
    assert "expected md5 57a20e82fe736dd4" in message and "384,806 rows, found" in message
    train, test = by_hand()
    train.loc[train["label"] == 1, "item_id"] += 100
    prepare(fixture.write(tmp_path / "odd", (train, test)), tmp_path / "out")
    assert "0 of 11 positives stand at their own position" in capsys.readouterr().err


def test_published_files_are_recognised(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = published(raw, train=4206, test=320)
    monkeypatch.setattr(amazon_electronics, "PUBLISHED", known)
    assert "md5 checked" in prepare(raw, tmp_path / "out").spec.source
    assert "not the published file" not in capsys.readouterr().err


def test_the_dev_variant_leaves_the_test_file_out(raw: Path, prepared: PreparedDataset) -> None:
    dev = prepare(raw, raw.parent / "dev", "--drop-last-period")
    rows = prepared.rows_of(range(1, 8)).stop
    assert (dev.spec.dataset_id, dev.spec.periods.test) == ("AmazonElectronics_dev_s1", (7,))
    assert dev.frame().equals(prepared.frame().iloc[:rows])
    assert tokens(dev, "cate_history") == tokens(prepared, "cate_history")[:rows]


def test_lengths_count_gaps_and_blanks() -> None:
    assert history_lengths(pd.Series(["", "7", "7^8", "7^^9", "^"])).tolist() == [0, 1, 2, 3, 2]


def test_lives_keep_gaps_and_users_without_history() -> None:
    texts, user = pd.Series(["a", "", "a^^c", "", "x"]), np.array([0, 1, 0, 0, 2])
    life = lives(texts, user, "here")
    assert life.token.tolist() == ["a", "", "c", "x"]
    assert life.user.tolist() == [0, 0, 0, 2]
    assert life.position.tolist() == [0, 1, 2, 0]
    assert life.length.tolist() == [3, 0, 1]
    assert life.at(np.array([2, 0]), np.array([0, 2])).tolist() == ["x", "c"]


@pytest.mark.parametrize(
    "texts", [["a", "b^c"], ["a^b", "a^c"], ["a^bb", "a^b^c"], ["1^2", "1^23^4"], ["z", "a^b"]]
)
def test_histories_that_are_no_beginning_are_refused(texts: list[str]) -> None:
    with pytest.raises(DataError, match="here: .* data row 2, which is not the beginning"):
        lives(pd.Series(["q", *texts]), np.array([1, 0, 0]), "here")


def test_a_contradiction_far_down_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_lives._ROWS_AT_ONCE", 2)
    texts = pd.Series(["a", "a^b", "a^b^c", "a^x", "a"])
    with pytest.raises(DataError, match=r"'a\^x' in data row 4"):
        lives(texts, np.zeros(5, np.int64), "here")


def _cell(column: str, row: int, value: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    train, test = by_hand()
    train[column] = train[column].astype(object)
    train.loc[row, column] = value
    return train, test


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (by_hand()[::-1], "expected each user's last event, found position 1 in data row 1, but"),
        ((by_hand()[0], by_hand()[0].iloc[14:16]), "position 8 in data row 1, but user 0 is at 8"),
        ((by_hand()[0].iloc[:0], by_hand()[1]), "train.csv: expected at least one row"),
        (_cell("label", 3, 2), "train.csv: label': expected 0 or 1, found [2]"),
        (_cell("label", 3, "yes"), "train.csv: label: expected numbers, found 'yes' in data row 4"),
        (_cell("cate_history", 2, "1"), "found 1 beside 2 in data row 3"),
        (_cell("item_history", 2, "10^12"), "item_history: expected a user's histories to grow"),
        (_cell("cate_history", 2, "1^9"), "cate_history: expected a user's histories to grow"),
        (fixture.rows_of(TWO_LIVES[1:]), "at least 7 different times for 7 periods, found 3"),
    ],
)
def test_bad_files(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tables: tuple[pd.DataFrame, pd.DataFrame],
    message: str,
) -> None:
    raw = fixture.write(tmp_path / "raw", tables)
    assert message in error_of(capsys, amazon_electronics, raw, tmp_path / "out")


def test_missing_files_and_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = by_hand()
    no_history = fixture.write(tmp_path / "raw", (train.drop(columns="item_history"), test))
    (fixture.write(tmp_path / "half") / "train.csv").unlink()
    for folder, message in (
        (no_history, "missing columns 'item_history' (did you mean 'cate_history'?)"),
        (tmp_path / "half", "train.csv: no such file"),
        (tmp_path / "none", "no such folder"),
    ):
        assert message in error_of(capsys, amazon_electronics, folder, tmp_path / "out")


@pytest.mark.slow
def test_from_the_files_to_a_leaderboard(raw: Path, tmp_path: Path) -> None:
    leaderboard("AmazonElectronics_s1", raw, tmp_path)
