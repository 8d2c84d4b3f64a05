"""KuaiVideo as ``KuaiVideo_s1``: will the user watch the video whose thumbnail is shown?

Source: the Kuaishou challenge of China MM 2018 in the sample of ALPINE (Li et al., MM 2019), as
published under the name ``KuaiVideo_x1``: ``train.csv`` and ``test.csv`` with the columns
timestamp, user_id, item_id, is_click, is_like, is_follow, pos_items, neg_items, and
``item_visual_emb_dim64.h5``. Nothing has been run on the real files: what is said about them here
comes from their documentation, and the tests use small made-up files of the same schema.

The publisher transformed the timestamps: their order is true, their distances are no clock. So the
time unit is ``ordinal``, and a period is one of 8 chunks with equally many rows of both files
together, all rows of one timestamp in one chunk. The files were split by someone else: the script
says whether ``test.csv`` really begins after ``train.csv`` ends, and cuts by time either way.

As in the paper, teacher and vertical model see the same features: user_id, item_id and the newest
100 videos that the user watched (``pos_items``) and was shown but did not watch (``neg_items``)
strictly before. These histories are rebuilt from the log: the published columns of the same names
stop at a user's *first* 100 videos and are not read. ``is_like`` and ``is_follow`` are known only
afterwards and never features.

The paper keeps watched videos alone in its LoopFM histories. That is a choice of a configuration,
``loopfm_event_filter: label == 1``; the prepared data hold every impression.

Prepared data have no dense columns, so the visual embeddings are copied beside them, unchanged, as
``item_visual_emb.h5`` (the file may be missing: then nothing is copied). A configuration uses them
through FuxiCTR: ``{name: item_emb, preprocess: copy_from(item_id), pretrained_emb: <that file>,
pretrain_dim: 64, ...}``. The visual histories ``pos_items_emb`` and ``neg_items_emb`` exist in
the x1 configurations only, and so does everything about ``user_visual_emb_dim64.h5``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from _common import (
    EventList,
    Sequences,
    dev_cut,
    make_parser,
    run,
    step,
    to_integers,
    user_histories,
    write_and_describe,
)
from _tables import read_tables
from _x1 import Published, as_codes, differences, provenance, tied_chunks, x1_files

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.columns_io import check_labels, check_periods
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn

DATASET_ID = "KuaiVideo_s1"
PERIODS = 8
TEACHER_PERIODS = 4
HISTORY_LENGTH = 100
COLUMNS = (
    *("timestamp", "user_id", "item_id"),
    *("is_click", "is_like", "is_follow"),
    *("pos_items", "neg_items"),
)
USED = COLUMNS[:4]
HISTORIES = {"pos_items": 1, "neg_items": 0}
VISUAL_FILE = "item_visual_emb_dim64.h5"
PUBLISHED = {
    "train.csv": Published("16f13734411532cc313caf2180bfcd56", 10_931_092),
    "test.csv": Published("ba26c01caaf6c65c272af11aa451fc7a", 2_730_291),
}


def main(args: argparse.Namespace) -> None:
    """Read, check, order, cut into periods, rebuild histories, write."""
    refuse_challenge(args.data)
    paths = x1_files(args.data, list(PUBLISHED), COLUMNS)
    with step("read train.csv and test.csv"):
        tables = [read_table(path) for path in paths]
    with step("compare with the published files"):
        differing = differences(paths, [len(table) for table in tables], PUBLISHED)
    for notice in (*differing, split_notice(*tables)):
        print(f"notice: {notice}", file=sys.stderr)
    log = pd.concat(tables, ignore_index=True)
    log = log.sort_values("timestamp", kind="stable", ignore_index=True)
    period = tied_chunks(log["timestamp"].to_numpy(), PERIODS)
    dataset_id, count, rows = dev_cut(DATASET_ID, period, PERIODS, args.drop_last_period)
    log, period = log.iloc[:rows], period[:rows]
    check_periods(period, log["is_click"].to_numpy(), count)
    frame = log.assign(
        period=period, user_id=as_codes(log["user_id"]), item_id=as_codes(log["item_id"])
    )
    with step("rebuild histories"):
        sequences = histories(frame)
    visual = visual_embeddings(args.data / VISUAL_FILE)
    described = description(dataset_id, count, differing)
    write_and_describe(args.out, described, frame, sequences, visual)


def refuse_challenge(folder: Path) -> None:
    """Raise DataError if the folder holds the challenge's own log instead of the x1 files."""
    challenge = sorted(path.name for path in folder.glob("train_interaction*.txt"))
    if challenge and not (folder / "train.csv").is_file():
        raise DataError(
            f"{folder}: expected the published {', '.join(PUBLISHED)}, found {challenge[0]}, the "
            "log of the Kuaishou challenge that they were sampled from. data_prep/custom.py "
            "prepares that one, with the spec in data_prep/README.md (a data set of its own)"
        )


def read_table(path: Path) -> pd.DataFrame:
    """timestamp (int64), user_id, item_id (text) and is_click (0 or 1) of one file."""
    table = read_tables([path], USED)
    if not len(table):
        raise DataError(f"{path}: expected at least one row, found none")
    for name in ("timestamp", "is_click"):
        table[name] = to_integers(table[name], f"{path}: {name}")
    check_labels(table["is_click"].to_numpy(), f"{path}: is_click")
    return table


def split_notice(train: pd.DataFrame, test: pd.DataFrame) -> str:
    """Whether the test file lies after the training file, in words."""
    last, first = int(train["timestamp"].max()), int(test["timestamp"].min())
    if last < first:
        return f"test.csv begins at {first}, after train.csv ends at {last}"
    earlier = float((test["timestamp"] <= last).mean())
    return (
        f"test.csv is no later part of the log: train.csv ends at {last}, and {earlier:.1%} of "
        "test.csv is not later than that; periods are cut by timestamp over both files"
    )


def histories(log: pd.DataFrame) -> Sequences:
    """Videos watched (``pos_items``) and not watched (``neg_items``) before each impression."""
    user = log["user_id"].cat.codes.to_numpy().astype(np.int64)
    time, label = log["timestamp"].to_numpy(), log["is_click"].to_numpy()
    item = np.asarray(log["item_id"].cat.categories, dtype=object)[log["item_id"].cat.codes]
    sequences: Sequences = {}
    for name, wanted in HISTORIES.items():
        past = label == wanted
        events = EventList(user[past], time[past], item[past])
        sequences[name] = user_histories(events, user, time, HISTORY_LENGTH)
    return sequences


def visual_embeddings(source: Path) -> dict[str, Path]:
    """The visual embeddings as a file to lie beside the prepared data, if they are at hand."""
    if not source.is_file():
        print(f"notice: {source}: no such file; no visual embeddings", file=sys.stderr)
        return {}
    return {"item_visual_emb.h5": source}


def description(dataset_id: str, count: int, differing: list[str]) -> DatasetSpec:
    """The data set's ``dataset.yaml``."""
    both = ("teacher", "vertical")
    return DatasetSpec(
        dataset_id=dataset_id,
        label="is_click",
        user="user_id",
        item="item_id",
        time_unit="ordinal",
        columns=(Column("user_id"), Column("item_id")),
        sequences=tuple(
            SequenceColumn(name, "item_id", HISTORY_LENGTH, both) for name in HISTORIES
        ),
        item_columns=("item_id",),
        periods=Periods.split(count, TEACHER_PERIODS),
        period_rule=f"chunks of equal size by timestamp over both files ({count} of {PERIODS}), "
        "ties together",
        source="KuaiVideo_x1 (Kuaishou, China MM 2018; Li et al., MM 2019), "
        + provenance(differing),
    )


def cli(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (default: the command line); the exit code."""
    command = make_parser(
        "Prepare KuaiVideo (KuaiVideo_s1) from the published x1 files.",
        "python data_prep/kuai_video.py --data KuaiVideo_x1 --out data/KuaiVideo_s1",
    )
    command.add_argument("--data", type=user_path, required=True, help="folder of the x1 files")
    return run(main, command, arguments)


if __name__ == "__main__":
    sys.exit(cli())
