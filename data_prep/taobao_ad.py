"""TaobaoAd as ``TaobaoAd_s1``: will the user click the shown ad?

Source: Ali_Display_Ad_Click (Alibaba, Tianchi data set 56, its terms of use), unpacked:
``raw_sample.csv``, ``ad_feature.csv``, ``user_profile.csv``, ``behavior_log.csv``.

An impression stays if its user has a profile and its ad has features. Periods are the 8 days in
China from 2017-05-06: days 1 to 4 train the teacher, 5 to 8 are logged, 5 to 7 train the vertical
model, 8 is the test. Both models see all features: 15 ids and codes, the price in half octaves, a
constant ``btag`` (an ad is viewed, ``pv``) and the user's newest 50 behaviours strictly before the
impression as category, brand and btag histories, aligned position by position. A behaviour without
a category is left out of all three; one without a brand keeps its place with an empty brand.

``--x1`` takes the published TaobaoAd_x1 (``train.csv`` and ``test.csv``, checksums compared), which
has no clock, and makes the approximation ``TaobaoAdApprox_s1``: see ``_taobao_x1.py``.

NOT RUN ON THE REAL FILES (26.6M impressions, 723M behaviours), only on generated ones of the same
schema. Measured with 2 busy cores; the first two with a memory limit in proportion to the rows (19
and 20 files), the last by ``make rehearsal`` (16 GiB, 2 files):

    impressions  behaviours  CPU time  own memory  with mapped files
    0.27M        7.2M         5 s      0.42 GiB    0.54 GiB
    2.66M        72.3M       55 s      0.90 GiB    1.24 GiB
    26.6M        72.3M      175 s      -           5.44 GiB

CPU time grows with the rows: about 10 minutes for all. Of the own memory the widest step, writing,
grows by 0.25 KiB per impression, which is 6.5 GiB for all; sorting takes a quarter of
``--memory-limit`` at most on top of 0.1 KiB per impression. Mapped values (15 bytes per behaviour
that a history holds) count as used memory but can be dropped by the system. The split log needs up
to 20 bytes per behaviour of disk beside ``--out`` while it runs: 14.5 GB for all.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from _common import HISTORY_LENGTH, dev_cut, make_parser, run, step, write_and_describe
from _taobao_files import (
    AD,
    DAYS,
    FIRST_SECOND,
    PROFILE,
    Impressions,
    find_file,
    read_ads,
    read_impressions,
    read_users,
)
from _taobao_histories import file_count, look_up, split_log
from _taobao_x1 import read_x1
from _x1 import provenance

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.errors import DataError, OutputError
from fuxictr_loopfm.files.atomic import scratch_dir
from fuxictr_loopfm.prepared.columns_io import check_periods
from fuxictr_loopfm.prepared.dataset import Column, DatasetSpec, Periods, SequenceColumn

DATASET_ID = "TaobaoAd_s1"
APPROXIMATE_ID = "TaobaoAdApprox_s1"
TEACHER_DAYS = 4
PUBLISHED = "25,029,426 rows, 3,099,515 of them on day 8"
DATES = [
    str(np.datetime64(FIRST_SECOND + 8 * 3600, "s").astype("datetime64[D]") + day)
    for day in range(DAYS)
]
COLUMNS = ("userid", *PROFILE, "adgroup_id", *AD, "price", "pid", "btag")
HISTORIES = {"cate_his": "cate_id", "brand_his": "brand", "btag_his": "btag"}
SOURCE = "Ali_Display_Ad_Click (Alibaba, Tianchi data set 56, its terms of use)"


def main(args: argparse.Namespace) -> None:
    """Read, join, look histories up, write."""
    if not args.data.is_dir():
        raise DataError(f"{args.data}: no such folder; give the folder of the TaobaoAd files")
    if args.memory_limit <= 0:
        raise DataError(f"--memory-limit: expected GiB above 0, found {args.memory_limit}")
    try:
        with scratch_dir(args.out.parent) as scratch:
            (prepare_x1 if args.x1 else prepare_raw)(args, scratch)
    except OSError as error:
        raise OutputError(f"{args.out}: cannot be written: {error.strerror or error}") from error


def prepare_raw(args: argparse.Namespace, scratch: Path) -> None:
    """``TaobaoAd_s1`` from the four raw files."""
    sample = find_file(args.data, "raw_sample.csv")
    with step("read users and ads"):
        users = read_users(find_file(args.data, "user_profile.csv"))
        ads = read_ads(find_file(args.data, "ad_feature.csv"))
    with step("read impressions"):
        impressions = read_impressions(sample, users.index, ads.index)
    source = SOURCE + join_report(impressions)
    period = impressions.period
    check_days(period, sample)
    check_periods(period, impressions.clk, DAYS, DATES)
    log = find_file(args.data, "behavior_log.csv")
    dataset_id, count, rows = dev_cut(DATASET_ID, period, DAYS, args.drop_last_period)
    impressions = impressions.head(rows)
    with step("read behaviours"):
        files = file_count(log, args.memory_limit)
        behaviour = split_log(log, users.index, impressions, files, scratch)
    print(
        f"{log.name}: {behaviour.read:,} rows, {behaviour.undated:,} outside its 22 days dropped, "
        f"{behaviour.no_category:,} without a category dropped, {behaviour.kept:,} before a user's "
        "last impression",
        flush=True,
    )
    with step(f"look up histories in {files} files"):
        sequences = look_up(behaviour, impressions, scratch)
    with step("derive features"):
        frame = features(impressions, users, ads)
    del impressions, users, ads
    rule = f"calendar day in China time, {DATES[0]} to {DATES[count - 1]}"
    write_and_describe(
        args.out, description(dataset_id, count, "s", rule, source), frame, sequences
    )


def prepare_x1(args: argparse.Namespace, scratch: Path) -> None:
    """``TaobaoAdApprox_s1`` from the published ``train.csv`` and ``test.csv``."""
    frame, sequences, differing = read_x1(args.data, COLUMNS, tuple(HISTORIES), scratch, DAYS)
    for text in differing:
        print(f"notice: {text}")
    period, clk = frame["period"].to_numpy(), frame["clk"].to_numpy()
    check_periods(period, clk, DAYS)
    dataset_id, count, rows = dev_cut(APPROXIMATE_ID, period, DAYS, args.drop_last_period)
    rule = (
        f"APPROXIMATION, no clock: {DAYS - 1} chunks of equal size of train.csv in file order, "
        "which is said to be the time order"
    )
    rule += ", then test.csv (2017-05-13)" * (count == DAYS)
    source = (
        f"APPROXIMATION of {DATASET_ID} from TaobaoAd_x1 (BARS), {provenance(differing)}; rows in "
        "file order; 0 was dropped from each history by itself, so that they need not be aligned"
    )
    write_and_describe(
        args.out,
        description(dataset_id, count, "ordinal", rule, source),
        frame.iloc[:rows],
        {
            name: (values, end[:rows], len_[:rows])
            for name, (values, end, len_) in sequences.items()
        },
    )


def join_report(impressions: Impressions) -> str:
    """Print what was dropped, and what differs from the published files; that for ``source``."""
    rows, last = len(impressions.time), int((impressions.period == DAYS).sum())
    print(
        f"raw_sample.csv: {impressions.read:,} rows, {impressions.undated:,} outside the 8 days "
        f"dropped, {impressions.unjoined:,} without a profile or an ad dropped"
    )
    found = f"{rows:,} rows, {last:,} of them on day {DAYS}"
    if found == PUBLISHED:
        print(f"the join gives {found}, as published", flush=True)
        return ""
    print(f"notice: the join gives {found}; the published files give {PUBLISHED}", flush=True)
    return f"; other files than the published ones: {found}"


def check_days(period: np.ndarray, sample: Path) -> None:
    """Raise DataError that names every day without an impression: each day is a period."""
    rows = np.bincount(period, minlength=DAYS + 1)[1:]
    empty = [date for date, count in zip(DATES, rows, strict=True) if not count]
    if empty:
        raise DataError(
            f"{sample}: time_stamp: expected impressions on each of the {DAYS} days, which are the "
            f"periods, found {len(period):,} that join and none on {', '.join(empty)} (China "
            "time). The rows themselves can be read; give rows of every day, such as those of some "
            "users, not the first rows of the file"
        )


def features(impressions: Impressions, users: pd.DataFrame, ads: pd.DataFrame) -> pd.DataFrame:
    """All columns of the prepared events; text as categories, which take 1 to 4 bytes a row."""
    columns: dict[str, object] = {
        "timestamp": impressions.time,
        "period": impressions.period,
        "clk": impressions.clk,
        "userid": _take(users.index.astype("str"), impressions.user),
        "adgroup_id": _take(ads.index.astype("str"), impressions.ad),
        "pid": _take(pd.Index(impressions.pids, dtype="str"), impressions.pid),
        "btag": _take(pd.Index(["pv"], dtype="str"), np.zeros(len(impressions.time), np.int8)),
    }
    for table, rows in ((users, impressions.user), (ads, impressions.ad)):
        for name in table.columns:
            columns[name] = _take(table[name], rows)
    return pd.DataFrame(columns, copy=False)


def description(dataset_id: str, count: int, unit: str, rule: str, source: str) -> DatasetSpec:
    """The data set's ``dataset.yaml``."""
    views = ("teacher", "vertical")
    return DatasetSpec(
        dataset_id=dataset_id,
        label="clk",
        user="userid",
        item="adgroup_id",
        time_unit=unit,
        columns=tuple(Column(name) for name in COLUMNS),
        sequences=tuple(
            SequenceColumn(name, of=of, max_len=HISTORY_LENGTH, views=views)
            for name, of in HISTORIES.items()
        ),
        item_columns=("adgroup_id", *AD, "price"),
        periods=Periods.split(count, TEACHER_DAYS),
        period_rule=rule,
        source=source,
    )


def _take(texts: pd.Series | pd.Index, rows: np.ndarray) -> pd.Categorical:
    """``texts[rows]`` as codes."""
    codes, categories = pd.factorize(texts)
    narrow = codes.astype(np.min_scalar_type(-len(categories) - 1))
    return pd.Categorical.from_codes(narrow[rows], categories=categories)


def cli(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (default: the command line); the exit code."""
    command = make_parser(
        "Prepare TaobaoAd (TaobaoAd_s1, or TaobaoAdApprox_s1 with --x1).",
        "python data_prep/taobao_ad.py --data Ali_Display_Ad_Click --out data/TaobaoAd_s1",
    )
    command.add_argument("--data", type=user_path, required=True, help="folder of the raw files")
    command.add_argument(
        "--x1", action="store_true", help="--data holds TaobaoAd_x1; make an approximate stream"
    )
    command.add_argument(
        "--memory-limit",
        type=float,
        default=16.0,
        metavar="GiB",
        help="memory to stay below on the raw files (default 16)",
    )
    return run(main, command, arguments)


if __name__ == "__main__":
    sys.exit(cli())
