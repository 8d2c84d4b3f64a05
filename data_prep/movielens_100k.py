"""MovieLens-100K as ``MovieLens100K_s1``: will the user rate the movie 4 or more?

Source: MovieLens-100K (Harper and Konstan, TiiS 2015; GroupLens terms of use: research, no
redistribution). The files lie inside the wheel ``recbole==1.2.1``, which is downloaded, compared
with its checksum and read as a zip; it is never installed.

Expected: 100,000 ratings of 943 users and 1,682 movies. Ratings are put in time order (ties keep
their file order) and cut into 8 chunks of equal size, ratings of one second staying together.
Chunks 1-4 train the teacher, 8 is the test. The teacher has age, gender, occupation, zip3 and the
user's last 50 rated movies on top of the columns of the vertical model.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from _common import (
    HISTORY_LENGTH,
    EventList,
    check_times,
    chunk_periods,
    dev_cut,
    make_parser,
    run,
    step,
    to_integers,
    to_numbers,
    user_histories,
    write_and_describe,
)
from _tables import require_columns

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files import atomic
from fuxictr_loopfm.prepared.columns_io import check_periods
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn

DATASET_ID = "MovieLens100K_s1"
PACKAGE = "recbole==1.2.1"
WHEEL = "recbole-1.2.1-py3-none-any.whl"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
INSIDE_WHEEL = "recbole/dataset_example/ml-100k"
CHUNKS = 8
TEACHER_CHUNKS = 4
LIKED = 4
# Ages in groups; the first number of each.
AGE_GROUPS = (18, 25, 35, 45, 50, 56)
COLUMNS = {
    "ml-100k.inter": ("user_id", "item_id", "rating", "timestamp"),
    "ml-100k.user": ("user_id", "age", "gender", "occupation", "zip_code"),
    "ml-100k.item": ("item_id", "release_year", "class"),
}


def main(args: argparse.Namespace) -> None:
    """Get the files, read, check, derive features, write."""
    source = args.data or download(args.cache or args.out.parent / "raw" / "movielens_100k")
    with step(f"read {source}"):
        ratings, users, items = (
            parse(read_bytes(source, name), f"{source}: {name}", columns)
            for name, columns in COLUMNS.items()
        )
    ratings = checked_ratings(ratings, f"{source}: ml-100k.inter")
    period = chunk_periods(ratings["timestamp"].to_numpy(), CHUNKS)
    dataset_id, count, rows = dev_cut(DATASET_ID, period, CHUNKS, args.drop_last_period)
    check_periods(period, ratings["click"].to_numpy(), CHUNKS)
    ratings, period = ratings.iloc[:rows], period[:rows]
    with step("derive features and histories"):
        frame = features(ratings, users, items, str(source)).assign(period=period)
        user, time = pd.factorize(ratings["user_id"])[0], ratings["timestamp"].to_numpy()
        events = EventList(user, time, ratings["item_id"].to_numpy(dtype=object))
        sequences = {"rated_history": user_histories(events, user, time, HISTORY_LENGTH)}
    write_and_describe(args.out, description(dataset_id, count), frame, sequences)


def download(cache: Path) -> Path:
    """Path of the verified wheel in ``cache``, downloaded by pip if it is not there yet.

    Raises:
        DataError: pip fails, or the file is not the expected one.
    """
    wheel = cache / WHEEL
    if not wheel.is_file():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        with step(f"download {PACKAGE} into {cache}"), atomic.scratch_dir(cache) as scratch:
            command += ["--dest", str(scratch), PACKAGE]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if (scratch / WHEEL).is_file():
                os.replace(scratch / WHEEL, wheel)
        if done.returncode or not wheel.is_file():
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise DataError(
                f"pip could not download {PACKAGE}: {lines[-1]}; fetch {WHEEL} elsewhere and give"
                " it with --data"
            )
    check_wheel(wheel)
    return wheel


def check_wheel(wheel: Path) -> None:
    """Raise DataError unless the wheel is the one this script was written for."""
    found = atomic.sha256_file(wheel)
    if found != WHEEL_SHA256:
        raise DataError(
            f"{wheel}: expected sha256 {WHEEL_SHA256}, found {found}; delete the file and try again"
        )


def read_bytes(source: Path, name: str) -> bytes:
    """One of the three files from a folder or out of the wheel."""
    try:
        if source.is_dir():
            return (source / name).read_bytes()
        with zipfile.ZipFile(source) as archive:
            return archive.read(f"{INSIDE_WHEEL}/{name}")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{source}: cannot read {name} ({error}); expected a folder with {', '.join(COLUMNS)}"
            f" or the wheel {WHEEL}"
        ) from error


def parse(content: bytes, where: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """Text columns of a tab-separated file whose header reads ``name:type``."""
    try:
        table = pd.read_csv(
            io.BytesIO(content), sep="\t", dtype="str", quoting=3, keep_default_na=False
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: cannot be read: {error}") from error
    table.columns = [str(name).partition(":")[0] for name in table.columns]
    require_columns(where, list(table.columns), columns)
    if not len(table):
        raise DataError(f"{where}: has no rows")
    return table[list(columns)]


def checked_ratings(ratings: pd.DataFrame, where: str) -> pd.DataFrame:
    """Ratings in time order with an int64 timestamp and the ``click`` label."""
    copies = ratings.duplicated()
    if copies.any():
        raise DataError(f"{where}: {int(copies.sum())} exact copies of a row; remove them")
    rating = to_numbers(ratings["rating"], f"{where}: rating").to_numpy()
    timestamp = to_integers(ratings["timestamp"], f"{where}: timestamp")
    check_times(timestamp, "s", f"{where}: timestamp")
    ratings = ratings.assign(timestamp=timestamp, click=(rating >= LIKED).astype(np.int8))
    return ratings.sort_values("timestamp", kind="stable", ignore_index=True)


def features(
    ratings: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame, where: str
) -> pd.DataFrame:
    """All columns of the prepared events but ``period``."""
    age = to_numbers(users["age"], f"{where}: ml-100k.user: age").to_numpy()
    users = users.assign(
        age=np.array([0, *AGE_GROUPS]).astype("U")[np.searchsorted(AGE_GROUPS, age, side="right")],
        zip3=users["zip_code"].str[:3],
    )
    items = items.assign(genre=items["class"].str.partition(" ")[0], genres=items["class"])
    for table, key in ((users, "user_id"), (items, "item_id")):
        if table[key].duplicated().any():
            raise DataError(f"{where}: {key}: expected one row per value in its feature file")
        ratings = ratings.merge(table, on=key, how="left")
    texts = [column.name for column in description(DATASET_ID, CHUNKS).columns]
    return ratings[["timestamp", "click"]].join(ratings[texts].fillna(""))


def description(dataset_id: str, count: int) -> DatasetSpec:
    """The data set's ``dataset.yaml``."""
    teacher = [Column(name, views=("teacher",)) for name in ("age", "gender", "occupation", "zip3")]
    item = [Column(name) for name in ("item_id", "release_year", "genre", "genres")]
    return DatasetSpec(
        dataset_id=dataset_id,
        label="click",
        user="user_id",
        item="item_id",
        time_unit="s",
        columns=(Column("user_id"), *teacher, *item),
        sequences=(SequenceColumn("rated_history", of="item_id", max_len=HISTORY_LENGTH),),
        item_columns=("item_id", "genres"),
        periods=Periods.split(count, TEACHER_CHUNKS),
        period_rule=f"chunks of equal size in time order ({count} of {CHUNKS}), ties together",
        source=f"MovieLens-100K (Harper and Konstan, 2015; GroupLens terms), files of {PACKAGE}",
    )


def cli(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (default: the command line); the exit code."""
    command = make_parser(
        "Prepare MovieLens-100K (MovieLens100K_s1).",
        "python data_prep/movielens_100k.py --out data/MovieLens100K_s1",
    )
    command.add_argument(
        "--data",
        type=user_path,
        help=f"folder with {', '.join(COLUMNS)}, or the wheel {WHEEL} (default: download it)",
    )
    command.add_argument(
        "--cache",
        type=user_path,
        help="folder for the downloaded wheel (default: raw/movielens_100k beside --out)",
    )
    return run(main, command, arguments)


if __name__ == "__main__":
    sys.exit(cli())
