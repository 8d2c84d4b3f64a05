"""Reviews of any Amazon category as ``Amazon<Category>_s1``: real review, or sampled item?

Source: the review files of McAuley et al., 2014 (He and McAuley, WWW 2016) and 2018 (Ni et al.,
EMNLP 2019), JSON lines, plain or ``.gz``; optionally the metadata file of the same category (JSON
in 2018, Python literals in 2014). Of a review only ``reviewerID``, ``asin`` and ``unixReviewTime``
are read: rating, text and votes come with the answer and are never features.

**Negatives are sampled.** Nobody logs what was not reviewed, so each review (label 1) is followed
by one made-up row (label 0) of the same user and time with an item drawn by this script: seeded,
uniform over the items that had a review by then (the same day included), never an item that the
user reviewed, before or after. A review without such an item has no negative; a notice says how
many. Popular items are therefore likely positives, and an AUC here is none of shown impressions.
``loopfm_event_filter: label == 1`` keeps the made-up rows out of LoopFM's histories.

The clock is real, with a resolution of one day: a review, its negative and all other reviews of
the user on that day are ties, and never in each other's history. Periods are 8 chunks of equal
size, ties together; the first 4 train the teacher, the last is the test.

Teacher and vertical model see the same features: item_id, the newest 100 items of item_history,
and with metadata cate_id, brand, price (half octaves) and cate_history, aligned with item_history.
Metadata are a snapshot, taken after the last review; sales ranks and related items, which follow
from later sales, are not read. user_id only groups and keys.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from _amazon_files import Reviews, read_items, read_reviews
from _amazon_negatives import sample_negatives
from _common import (
    EventList,
    Sequences,
    dev_cut,
    make_parser,
    run,
    step,
    user_histories,
    write_and_describe,
)
from _x1 import tied_chunks

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.columns_io import check_periods
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn

PERIODS = 8
TEACHER_PERIODS = 4
HISTORY_LENGTH = 100
SEED = 2018


def main(args: argparse.Namespace) -> None:
    """Read, sample negatives, cut into periods, look histories up, write."""
    category = category_of(args.reviews)
    with step(f"read {args.reviews}"):
        reviews, notices = read_reviews(args.reviews)
    table = pd.DataFrame({"item_id": reviews.items})
    if args.meta is not None:
        with step(f"read {args.meta}"):
            features, gaps = read_items(args.meta, reviews.items)
        table = table.join(features)
        notices.append(gaps)
    with step("sample negatives"):
        negative = sample_negatives(reviews.user, reviews.item, reviews.time, SEED)
    for notice in (*notices, *unsampled_notice(negative)):
        print(f"notice: {notice}", file=sys.stderr)
    row, item, label = interleave(reviews.item, negative)
    time, user = reviews.time[row], reviews.user[row]
    period = periods(time, args.reviews)
    check_periods(period, label, PERIODS)
    name, cut = f"Amazon{category}_s1", args.drop_last_period
    dataset_id, count, rows = dev_cut(name, period, PERIODS, cut)
    frame = pd.DataFrame({"timestamp": time, "period": period, "label": label})
    frame["user_id"] = _take(pd.Series(reviews.users), user)
    for column in table:
        frame[column] = _take(table[column], item)
    with step("look up histories"):
        sequences = histories(reviews, table, user[:rows], time[:rows])
    spec = description(dataset_id, count, list(table), source(args, category, negative))
    write_and_describe(args.out, spec, frame.iloc[:rows], sequences)


def category_of(path: Path) -> str:
    """``GiftCards`` of ``Gift_Cards_5.json.gz``, ``Gift_Cards.json``, ``reviews_Gift_Cards_5...``.

    Raises:
        DataError: the name says no category.
    """
    stem = path.name.partition(".")[0].removeprefix("reviews_")
    words = re.findall("[A-Za-z0-9]+", re.sub(r"_\d+$", "", stem))
    if not words:
        raise DataError(
            f"{path}: expected the publisher's file name, such as Gift_Cards_5.json.gz, which says "
            f"the category; found {path.name!r}"
        )
    return "".join(word[0].upper() + word[1:] for word in words)


def unsampled_notice(negative: np.ndarray) -> list[str]:
    """How many reviews have no negative, in words; empty if all have one."""
    alone = int((negative < 0).sum())
    if not alone:
        return []
    return [
        f"{alone:,} of {len(negative):,} reviews have no sampled negative, because their users "
        "reviewed every item that existed by then"
    ]


def interleave(item: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, ...]:
    """``(row of the review, item, label)`` of each event: a review, then its negative if any."""
    items = np.column_stack([item, negative]).ravel()
    kept = np.flatnonzero(items >= 0)
    return kept // 2, items[kept], (kept % 2 == 0).astype(np.int8)


def periods(time: np.ndarray, path: Path) -> np.ndarray:
    """Periods (N,) int32 from 1; DataError names the file."""
    try:
        return tied_chunks(time, PERIODS)
    except DataError as error:
        raise DataError(f"{path}: unixReviewTime: {error}") from error


def histories(
    reviews: Reviews, table: pd.DataFrame, user: np.ndarray, time: np.ndarray
) -> Sequences:
    """Real reviews strictly before each event, as items and, with metadata, as categories."""
    found: Sequences = {}
    for name, of in _histories_of(table):
        token = table[of].to_numpy(dtype=object)[reviews.item]
        events = EventList(reviews.user, reviews.time, token)
        found[name] = user_histories(events, user, time, HISTORY_LENGTH)
    return found


def source(args: argparse.Namespace, category: str, negative: np.ndarray) -> str:
    """Where the rows come from; says that half of them are made up."""
    files = args.reviews.name + (f" with {args.meta.name}" if args.meta is not None else "")
    alone = int((negative < 0).sum())
    return (
        f"Amazon reviews, category {category} (McAuley et al.), {files}: {len(negative):,} reviews "
        f"(label 1), each with one SAMPLED negative (label 0, seed {SEED}; uniform over the items "
        "reviewed by anyone by that day and never by the user)"
        + (f", but for {alone:,} with nothing to sample" if alone else "")
    )


def description(dataset_id: str, count: int, columns: list[str], source: str) -> DatasetSpec:
    """The data set's ``dataset.yaml``."""
    both = ("teacher", "vertical")
    return DatasetSpec(
        dataset_id=dataset_id,
        label="label",
        user="user_id",
        item="item_id",
        time_unit="s",
        columns=tuple(Column(name) for name in columns),
        sequences=tuple(
            SequenceColumn(name, of, HISTORY_LENGTH, both) for name, of in _histories_of(columns)
        ),
        item_columns=tuple(name for name in ("item_id", "cate_id") if name in columns),
        side_columns=("user_id",),
        periods=Periods.split(count, TEACHER_PERIODS),
        period_rule=f"chunks of equal size in time order ({count} of {PERIODS}), days whole",
        source=source,
    )


def _histories_of(columns: list[str] | pd.DataFrame) -> list[tuple[str, str]]:
    named = (("item_history", "item_id"), ("cate_history", "cate_id"))
    return [(name, of) for name, of in named if of in columns]


def _take(texts: pd.Series, rows: np.ndarray) -> pd.Categorical:
    """``texts[rows]`` as codes."""
    codes, categories = pd.factorize(texts)
    return pd.Categorical.from_codes(codes[rows], categories=pd.Index(categories, dtype="str"))


def cli(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (default: the command line); the exit code."""
    command = make_parser(
        "Prepare the reviews of an Amazon category (Amazon<Category>_s1).",
        "python data_prep/amazon_reviews.py --reviews Gift_Cards_5.json.gz "
        "--meta meta_Gift_Cards.json.gz --out data/prepared/AmazonGiftCards_s1",
    )
    command.add_argument(
        "--reviews",
        type=user_path,
        required=True,
        help="review file of 2014 or 2018; the category is taken from its name",
    )
    command.add_argument("--meta", type=user_path, help="metadata file of the same category")
    return run(main, command, arguments)


if __name__ == "__main__":
    sys.exit(cli())
