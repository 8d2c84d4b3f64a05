"""Amazon Electronics as ``AmazonElectronics_s1``: is this the item that the user reviews next?

Source: Electronics 5-core reviews (McAuley et al., SIGIR 2015) with one random negative for each
review, in the form of the DIN paper, as published under the name ``AmazonElectronics_x1``:
``train.csv`` and ``test.csv`` with the columns label, user_id, item_id, cate_id, item_history,
cate_history, the histories joined by ``^`` and never cut. Nothing has been run on the real files:
what is said about them here comes from their documentation, and the tests use small made-up files
of the same schema.

**There is no clock, and the order of the rows is none either.** The published rows are shuffled.
Cutting the file into 8 pieces would scatter each user's reviews over all of them: the teacher would
train on a user's later reviews and then log earlier ones, and a "history" of past embeddings would
hold what happens afterwards. The script reports how often neighbouring rows share a user (in a
shuffled file, hardly ever).

What orders a user's events is ``len(item_history)``, the event's position in the user's life. So
the timestamp is the position (unit ``ordinal``), and a period is a range of positions: 7 chunks of
nearly equally many rows of ``train.csv``, all rows of one position in one chunk; ``test.csv``,
which holds each user's last event, is period 8, and its timestamps go on after the last position of
``train.csv`` so that it is later than everything. Distances between timestamps mean nothing: use
neither ``log_age`` nor a window. Positions of different users are not simultaneous, and a user with
few reviews has no event in the later periods but the test, so many histories of logged embeddings
are short or empty.

The positive and the negative of a position share user, timestamp and history. Being ties, neither
is ever in the other's history.

As in the paper, teacher and vertical model see the same features: item_id, cate_id and the newest
100 entries of item_history and cate_history, kept side by side. user_id only groups and keys, as in
the published configurations. A negative was drawn at random and never shown, so
``loopfm_event_filter: label == 1`` gives the histories of real reviews.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from _common import (
    Sequences,
    dev_cut,
    make_parser,
    run,
    step,
    to_integers,
    user_histories,
    write_and_describe,
)
from _lives import Lives, history_lengths, lives
from _tables import read_tables
from _x1 import Published, as_codes, differences, provenance, tied_chunks, x1_files

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.columns_io import check_labels, check_periods
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn

DATASET_ID = "AmazonElectronics_s1"
TRAIN_PERIODS = 7
TEACHER_PERIODS = 4
HISTORY_LENGTH = 100
HISTORIES = {"item_history": "item_id", "cate_history": "cate_id"}
COLUMNS = ("label", "user_id", "item_id", "cate_id", *HISTORIES)
PUBLISHED = {
    "train.csv": Published("e9bf80b92985e463db18fdc753d347b5", 2_608_764),
    "test.csv": Published("57a20e82fe736dd495f2eaf0669bf6d0", 384_806),
}


def main(args: argparse.Namespace) -> None:
    """Read, check, order by position, cut into periods, write."""
    paths = x1_files(args.data, list(PUBLISHED), COLUMNS)
    with step("read train.csv and test.csv"):
        tables = [read_table(path) for path in paths]
    with step("compare with the published files"):
        differing = differences(paths, [len(table) for table in tables], PUBLISHED)
    log, train_rows = pd.concat(tables, ignore_index=True), len(tables[0])
    user = pd.factorize(log["user_id"])[0].astype(np.int64)
    check_last(log, user, train_rows)
    with step("check histories"):
        life = {name: lives(log[name], user, f"{args.data}: {name}") for name in HISTORIES}
    notices = [shuffle_notice(user[:train_rows]), position_notice(log, user, life["item_history"])]
    for notice in (*differing, *notices):
        print(f"notice: {notice}", file=sys.stderr)
    time, period = times(log["position"].to_numpy(), train_rows)
    order = np.argsort(time, kind="stable")
    dataset_id, count, rows = dev_cut(
        DATASET_ID, period[order], TRAIN_PERIODS + 1, args.drop_last_period
    )
    order = order[:rows]
    frame = features(log.iloc[order], time[order], period[order])
    check_periods(period[order], frame["label"].to_numpy(), count)
    with step("look up histories"):
        sequences = histories(life, user[order], log["position"].to_numpy()[order])
    write_and_describe(args.out, description(dataset_id, count, differing), frame, sequences)


def read_table(path: Path) -> pd.DataFrame:
    """The columns of one file, labels checked, and ``position``, the length of the history.

    Raises:
        DataError: no rows, a label other than 0 and 1, or histories of different lengths.
    """
    table = read_tables([path], COLUMNS)
    if not len(table):
        raise DataError(f"{path}: expected at least one row, found none")
    table["label"] = to_integers(table["label"], f"{path}: label").astype(np.int8)
    check_labels(table["label"].to_numpy(), f"{path}: label")
    position, categories = (history_lengths(table[name]) for name in HISTORIES)
    if np.any(position != categories):
        row = int(np.argmax(position != categories))
        raise DataError(
            f"{path}: cate_history: expected as many entries as in item_history, found "
            f"{categories[row]} beside {position[row]} in data row {row + 1}"
        )
    return table.assign(position=position)


def check_last(log: pd.DataFrame, user: np.ndarray, train_rows: int) -> None:
    """Raise DataError unless every event of the test file is its user's latest.

    Args:
        log: N rows, those of the training file first.
        user: (N,) int64 codes.
        train_rows: number of rows of the training file.
    """
    last = np.full(int(user.max()) + 1, -1, np.int64)
    np.maximum.at(last, user[:train_rows], log["position"].to_numpy()[:train_rows])
    position = log["position"].to_numpy()[train_rows:]
    wrong = position <= last[user[train_rows:]]
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"test.csv: item_history: expected each user's last event, found position "
            f"{position[row]} in data row {row + 1}, but user "
            f"{log['user_id'].iloc[train_rows + row]} is at {last[user[train_rows + row]]} in "
            "train.csv"
        )


def shuffle_notice(user: np.ndarray) -> str:
    """How often neighbouring rows of the training file share a user, in words."""
    together = float(np.mean(user[1:] == user[:-1])) if len(user) > 1 else 0.0
    chance = float(np.sum((np.bincount(user) / len(user)) ** 2))
    return (
        f"{together:.2%} of neighbouring rows of train.csv share a user, {chance:.2%} would by "
        "chance; the order of the rows is not used"
    )


def position_notice(log: pd.DataFrame, user: np.ndarray, life: Lives) -> str:
    """How many positives stand at their own position in later histories, in words."""
    position = log["position"].to_numpy()
    rows = np.flatnonzero((log["label"].to_numpy() == 1) & (position < life.length[user]))
    found = life.at(user[rows], position[rows]) == log["item_id"].iloc[rows].to_numpy(dtype=object)
    return (
        f"{int(found.sum()):,} of {len(rows):,} positives stand at their own position in a later "
        "history (all of them, if the length of the history is the order)"
    )


def times(position: np.ndarray, train_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """``(timestamp (N,) int64, period (N,) int32)``; the rows of the test file come last."""
    train = position[:train_rows]
    order = np.argsort(train, kind="stable")
    period = np.full(len(position), TRAIN_PERIODS + 1, np.int32)
    period[order] = tied_chunks(train[order], TRAIN_PERIODS)
    time = position.copy()
    time[train_rows:] += train.max() + 1
    return time, period


def features(log: pd.DataFrame, time: np.ndarray, period: np.ndarray) -> pd.DataFrame:
    """All columns of the prepared events."""
    columns: dict[str, object] = {"timestamp": time, "period": period}
    columns["label"] = log["label"].to_numpy()
    for name in ("user_id", "item_id", "cate_id"):
        columns[name] = as_codes(log[name])
    return pd.DataFrame(columns)


def histories(life: dict[str, Lives], user: np.ndarray, position: np.ndarray) -> Sequences:
    """The newest entries of each event's own histories, one copy per user."""
    return {
        name: user_histories(one.events, user, position, HISTORY_LENGTH)
        for name, one in life.items()
    }


def description(dataset_id: str, count: int, differing: list[str]) -> DatasetSpec:
    """The data set's ``dataset.yaml``."""
    both = ("teacher", "vertical")
    return DatasetSpec(
        dataset_id=dataset_id,
        label="label",
        user="user_id",
        item="item_id",
        time_unit="ordinal",
        columns=(Column("item_id"), Column("cate_id")),
        sequences=tuple(
            SequenceColumn(name, of, HISTORY_LENGTH, both) for name, of in HISTORIES.items()
        ),
        item_columns=("item_id", "cate_id"),
        side_columns=("user_id",),
        periods=Periods.split(count, TEACHER_PERIODS),
        period_rule=f"{TRAIN_PERIODS} chunks of nearly equal size by position in the user's life "
        "(length of item_history), ties together"
        + ("; test.csv is the last period" if count > TRAIN_PERIODS else ""),
        source="AmazonElectronics_x1 (5-core Electronics, McAuley et al., SIGIR 2015; one random "
        f"negative per review), {provenance(differing)}",
    )


def cli(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (default: the command line); the exit code."""
    command = make_parser(
        "Prepare Amazon Electronics (AmazonElectronics_s1) from the published x1 files.",
        "python data_prep/amazon_electronics.py --data AmazonElectronics_x1 "
        "--out data/AmazonElectronics_s1",
    )
    command.add_argument("--data", type=user_path, required=True, help="folder of the x1 files")
    return run(main, command, arguments)


if __name__ == "__main__":
    sys.exit(cli())
