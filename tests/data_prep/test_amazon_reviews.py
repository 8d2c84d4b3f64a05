"""Amazon reviews: small made-up files in the publisher's forms, from the lines to a model."""

from __future__ import annotations

import gzip
from pathlib import Path

import amazon_reviews
import amazon_reviews_fixture as fixture
import numpy as np
import pandas as pd
import pytest
from _amazon_negatives import sample_negatives
from amazon_reviews_fixture import START, review, write_lines
from leaderboard_toy import leaderboard

from fuxictr_loopfm.prepared.dataset import PreparedDataset


def prepare(reviews: Path, out: Path, *more: str) -> PreparedDataset:
    assert amazon_reviews.cli(["--reviews", str(reviews), "--out", str(out), *more]) == 0
    return PreparedDataset.load(out)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("amazon") / "raw"
    write_lines(folder / "Gift_Cards_5.json.gz", fixture.make_reviews())
    write_lines(folder / "meta_Gift_Cards.json.gz", fixture.make_meta())
    return folder


@pytest.fixture(scope="module")
def prepared(raw: Path) -> PreparedDataset:
    meta = str(raw / "meta_Gift_Cards.json.gz")
    return prepare(raw / "Gift_Cards_5.json.gz", raw.parent / "out", "--meta", meta)


def raw_table() -> pd.DataFrame:
    rows = pd.DataFrame(fixture.make_reviews())
    return rows.sort_values("unixReviewTime", kind="stable", ignore_index=True)


def test_every_review_is_a_positive_row_in_time_order(prepared: PreparedDataset) -> None:
    frame, expected = prepared.frame(), raw_table()
    real = frame[frame["label"] == 1]
    assert real["timestamp"].tolist() == expected["unixReviewTime"].tolist()
    assert real["user_id"].tolist() == expected["reviewerID"].tolist()
    assert real["item_id"].tolist() == expected["asin"].tolist()
    assert set(prepared.period) == set(range(1, 9))


def test_the_description_names_the_sampled_negatives(prepared: PreparedDataset) -> None:
    spec = prepared.spec
    assert (spec.dataset_id, spec.time_unit) == ("AmazonGiftCards_s1", "s")
    assert "SAMPLED negative" in spec.source and f"seed {amazon_reviews.SEED}" in spec.source
    assert (spec.user, spec.item, spec.side_columns) == ("user_id", "item_id", ("user_id",))
    names = ["item_id", "cate_id", "brand", "price"]
    for view in ("teacher", "vertical"):
        assert [column.name for column in spec.columns_of(view)] == names
    assert (spec.periods.vertical_train, spec.periods.test) == ((5, 6, 7), (8,))


def test_a_negative_existed_and_was_never_reviewed_by_its_user(prepared: PreparedDataset) -> None:
    frame, reviews = prepared.frame(), raw_table()
    first = reviews.groupby("asin")["unixReviewTime"].min()
    own = reviews.groupby("reviewerID")["asin"].agg(set)
    sampled = frame[frame["label"] == 0]
    assert (first[sampled["item_id"]].to_numpy() <= sampled["timestamp"].to_numpy()).all()
    assert not any(
        item in own[user] for user, item in zip(sampled["user_id"], sampled["item_id"], strict=True)
    )
    before = frame.shift(1).loc[sampled.index]
    assert (before["label"] == 1).all()
    for name in ("user_id", "timestamp"):
        assert before[name].tolist() == sampled[name].tolist()


def test_histories_are_real_reviews_of_earlier_days(prepared: PreparedDataset) -> None:
    frame = prepared.frame()
    real = frame[frame["label"] == 1]
    for name, of in (("item_history", "item_id"), ("cate_history", "cate_id")):
        values, end, length = prepared.sequence(name)
        for row in range(0, len(frame), 7):
            user, time = frame["user_id"][row], frame["timestamp"][row]
            past = real[(real["user_id"] == user) & (real["timestamp"] < time)]
            tokens = values[end[row] - int(length[row]) : end[row]]
            assert [token.decode() for token in tokens] == past[of].tolist()[-100:]


def test_metadata_are_read_and_page_text_is_missing(prepared: PreparedDataset) -> None:
    frame = prepared.frame().drop_duplicates("item_id").set_index("item_id")
    found = frame.loc[[f"{item:010}" for item in range(6)], ["cate_id", "brand", "price"]]
    assert found.to_numpy().tolist() == [
        ["", "", ""],
        ["Gift Cards", "Brand 1", "21"],
        ["Kind 2", "", ""],
        ["Kind 3", "Brand 3", "5"],
        ["Kind 0", "", ""],
        ["Kind 1", "Brand 5", "6"],
    ]


def test_the_form_of_2014_gives_the_same_rows(
    tmp_path: Path, raw: Path, prepared: PreparedDataset
) -> None:
    reviews = write_lines(tmp_path / "reviews_Gift_Cards_5.json", fixture.make_reviews())
    rows = fixture.make_meta()
    rows[3]["price"] = "$5.00"  # ranges came with 2018
    meta = write_lines(tmp_path / "meta_Gift_Cards.json", fixture.as_2014(rows))
    old = prepare(reviews, tmp_path / "out", "--meta", str(meta))
    assert old.spec.dataset_id == prepared.spec.dataset_id
    assert old.spec.files == prepared.spec.files


def test_without_metadata_only_items_are_known(tmp_path: Path, raw: Path) -> None:
    plain = prepare(raw / "Gift_Cards_5.json.gz", tmp_path / "out")
    assert [column.name for column in plain.spec.columns] == ["item_id"]
    assert [sequence.name for sequence in plain.spec.sequences] == ["item_history"]


def test_the_dev_variant_is_the_same_without_the_last_period(
    tmp_path: Path, raw: Path, prepared: PreparedDataset
) -> None:
    meta = str(raw / "meta_Gift_Cards.json.gz")
    more = ("--meta", meta, "--drop-last-period")
    dev = prepare(raw / "Gift_Cards_5.json.gz", tmp_path / "dev", *more)
    assert (dev.spec.dataset_id, dev.spec.periods.test) == ("AmazonGiftCards_dev_s1", (7,))
    assert dev.frame().equals(prepared.frame().iloc[: dev.spec.rows])


def test_repeated_reviews_are_dropped_with_a_word(
    tmp_path: Path, prepared: PreparedDataset, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = fixture.make_reviews()
    again = {**rows[4], "overall": 1.0}
    path = write_lines(tmp_path / "Gift_Cards_5.json", [*rows, "", again, rows[0]])
    other = prepare(path, tmp_path / "out", "--meta", str(raw / "meta_Gift_Cards.json.gz"))
    said = capsys.readouterr().err
    assert "2 reviews repeat an earlier one's user, item and time and are dropped" in said
    assert f"line {len(rows) + 2}, repeats line 5\n" in said
    assert other.spec.files == prepared.spec.files


def test_a_user_of_everything_has_no_negative_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [review("first", "a", -1), *fixture.make_reviews()]
    other = prepare(write_lines(tmp_path / "Gift_Cards_5.json", rows), tmp_path / "out")
    assert "notice: 1 of " in capsys.readouterr().err
    assert other.label[:3].tolist() == [1, 1, 0]
    assert "but for 1 with nothing to sample" in other.spec.source


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("Gift_Cards_5.json.gz", "GiftCards"),
        ("Gift_Cards.json", "GiftCards"),
        ("reviews_Clothing_Shoes_and_Jewelry_5.json.gz", "ClothingShoesAndJewelry"),
        ("AMAZON_FASHION.json.gz", "AMAZONFASHION"),
    ],
)
def test_the_file_name_says_the_category(name: str, category: str) -> None:
    assert amazon_reviews.category_of(Path("somewhere") / name) == category


class TestSampling:
    def test_all_allowed_items_and_only_they_are_equally_likely(self) -> None:
        reviews = [(0, 0, 1), (1, 1, 2), (0, 2, 3), (2, 3, 3), (1, 4, 4), (0, 5, 5), (1, 3, 6)]
        user, item, time = np.array(reviews, np.int64).T
        draws = np.stack([sample_negatives(user, item, time, seed) for seed in range(2000)])
        for row, (who, _, when) in enumerate(reviews):
            own = {i for u, i, _ in reviews if u == who}
            allowed = {i for _, i, t in reviews if t <= when} - own or {-1}
            found, count = np.unique(draws[:, row], return_counts=True)
            assert set(found) == allowed
            assert np.allclose(count / 2000, 1 / len(allowed), atol=0.05)

    def test_later_reviews_of_others_change_no_earlier_draw(self) -> None:
        random = np.random.default_rng(0)
        user, item = random.integers(0, 30, 500), random.integers(0, 50, 500)
        time = np.sort(random.integers(0, 90, 500))
        item = np.unique(item, return_inverse=True)[1]
        whole = sample_negatives(user, item, time, 1)
        more = (np.append(user, 30), np.append(item, item.max() + 1), np.append(time, 91))
        assert np.array_equal(sample_negatives(*more, 1)[:500], whole)
        assert not np.array_equal(sample_negatives(user, item, time, 2), whole)


def error_of(tmp_path: Path, capsys: pytest.CaptureFixture[str], reviews: Path, *more: str) -> str:
    out = tmp_path / "out"
    assert amazon_reviews.cli(["--reviews", str(reviews), "--out", str(out), *more]) == 1
    assert not out.exists()
    said = capsys.readouterr().err
    assert "Traceback" not in said and "--reviews and --meta" in said
    return said


GOOD = review("A1", "B1", 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("reviewerID,asin,unixReviewTime", "expected one JSON object per line, found 'reviewerID,"),
        ('{"reviewerID": "A1", "asin"', "expected one JSON object per line, found"),
        ("[1]", "expected one JSON object per line, found '[1]'"),
        ("[" * 100_000, "line 3: cannot be read"),
        ('{"asin": ' + "1" * 5000 + "}", "line 3: cannot be read"),
        ("{'reviewerID': __import__('os').name}", "expected one Python literal"),
        ("{'a': " + "1+" * 9000 + "1}", "expected one Python literal"),
        ("{'a': " + "[" * 9000 + "}", "expected one Python literal"),
        ('{"text": "' + "a" * (4 << 20) + '"}', "expected at most 4,194,304 bytes"),
        ("{'text': '" + "a" * (1 << 20) + "'}", "expected at most 1,048,576 bytes"),
        ({**GOOD, "reviewerID": None}, "reviewerID: expected text, found None"),
        ({**GOOD, "reviewerID": " "}, "reviewerID: expected text, found ' '"),
        ({"asin": "B1", "unixReviewTime": START}, "reviewerID: expected text, found only ['asin',"),
        ({**GOOD, "asin": 7}, "asin: expected text, found 7"),
        ({**GOOD, "asin": "\ud800"}, "asin: expected printable text"),
        ({**GOOD, "unixReviewTime": START * 1000}, "unixReviewTime: expected whole seconds from"),
        ({**GOOD, "unixReviewTime": -1}, "found -1"),
        ({**GOOD, "unixReviewTime": "06 17, 2018"}, "found '06 17, 2018'"),
        ({**GOOD, "unixReviewTime": 1.5e9}, "found 1500000000.0"),
        ({**GOOD, "unixReviewTime": True}, "found True"),
        ({"user_id": "A", "parent_asin": "B", "timestamp": 1}, "found that of 2023"),
    ],
)
def test_a_bad_review_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: fixture.Record | str, message: str
) -> None:
    path = write_lines(tmp_path / "raw" / "Toys_5.json", [GOOD, GOOD, row, GOOD])
    said = error_of(tmp_path, capsys, path)
    assert f"{path}: line 3: " in said and message in said


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"category": ["Toys"]}, "line 2: asin: expected text, found only ['category']"),
        ({"asin": "B1", "category": "Toys"}, "line 2: category: expected a list of texts"),
        ("{'asin': 'B1', 'price': 1+1}", "line 2: expected one Python literal"),
        ("", "none of the 1 items of the reviews is there"),
    ],
)
def test_bad_metadata_are_named_with_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: fixture.Record | str, message: str
) -> None:
    reviews = write_lines(tmp_path / "Toys_5.json", [GOOD])
    meta = write_lines(tmp_path / "meta_Toys.json", [{"asin": "B0"}, row])
    said = error_of(tmp_path, capsys, reviews, "--meta", str(meta))
    assert f"{meta}: " in said and message in said


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], raw: Path) -> None:
    whole = (raw / "Gift_Cards_5.json.gz").read_bytes()
    cases = {
        "cut.json.gz": (whole[: len(whole) // 2], "cannot be read"),
        "plain.json.gz": (b"{}", "cannot be read"),
        "latin.json": (b'{"asin": "\xe9"}', "line 1: expected UTF-8, found byte 11"),
        "empty.json": (b"\n\n", "expected reviews, found none"),
        "bomb.json.gz": (gzip.compress((b" " * 100_000 + b"\n") * 1100), "when unpacked"),
        "_5.json": (b"", "which says the category"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        said = error_of(tmp_path, capsys, tmp_path / name)
        assert name in said and message in said
    assert "no such file" in error_of(tmp_path, capsys, tmp_path / "none.json")


def test_too_few_days_are_named_with_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [review(f"A{user}", f"B{user}", user % 3) for user in range(30)]
    said = error_of(tmp_path, capsys, write_lines(tmp_path / "Toys_5.json", rows))
    assert "Toys_5.json: unixReviewTime: expected at least 8 different times" in said


@pytest.mark.slow
def test_from_the_prepared_folder_to_a_leaderboard(
    tmp_path: Path, prepared: PreparedDataset
) -> None:
    records = leaderboard("AmazonGiftCards_s1", prepared.folder, tmp_path / "checkout")
    assert list(records) == ["base", "LoopFM"]
