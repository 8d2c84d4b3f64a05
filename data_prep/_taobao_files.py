"""The raw TaobaoAd files: csv in blocks, user and ad tables, impressions joined with both."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
from _common import log2_bucket, to_integers, to_numbers
from _tables import read_header, read_tables, require_columns
from tqdm import tqdm

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.columns_io import check_labels

# 2017-05-06 00:00:00 in China, and what follows from it.
FIRST_SECOND = 1_494_000_000
DAY = 86_400
DAYS = 8
END_SECOND = FIRST_SECOND + DAYS * DAY
FIRST_BEHAVIOUR = END_SECOND - 22 * DAY

MISSING = ("", "NULL", "<NULL>")
PROFILE = (
    *("cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level"),
    *("shopping_level", "occupation", "new_user_class_level"),
)
AD = ("cate_id", "campaign_id", "customer", "brand")
BLOCK_BYTES = 1 << 24
_SAMPLE = {
    "user": pa.int64(),
    "time_stamp": pa.int64(),
    "adgroup_id": pa.int64(),
    "pid": pa.dictionary(pa.int32(), pa.string()),
    "clk": pa.int8(),
}


class Vocabulary:
    """Codes of texts, from 0 in order of appearance."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def encode(self, texts: pa.Array) -> np.ndarray:
        """int32 codes (n,) of text without nulls; new texts get new codes."""
        if not isinstance(texts, pa.DictionaryArray):
            texts = texts.dictionary_encode()
        codes = self._codes
        table = [codes.setdefault(word, len(codes)) for word in texts.dictionary.to_pylist()]
        found: np.ndarray = np.array(table, np.int32)[texts.indices.to_numpy()]
        return found

    @property
    def names(self) -> list[str]:
        """The text of each code."""
        return list(self._codes)


@dataclass(frozen=True)
class Impressions:
    """Joined impressions in time order; N rows.

    Attributes:
        user, ad: (N,) int32 rows of the user and the ad table.
        time: (N,) int64 seconds.
        clk: (N,) int8.
        pid: (N,) int32 codes of ``pids``.
        pids: text of each code.
        read: rows of the file.
        undated: rows outside the 8 days.
        unjoined: rows of the 8 days without a profile or an ad.
    """

    user: np.ndarray
    ad: np.ndarray
    time: np.ndarray
    clk: np.ndarray
    pid: np.ndarray
    pids: list[str]
    read: int
    undated: int
    unjoined: int

    @property
    def period(self) -> np.ndarray:
        """(N,) int32: the day in China, from 1."""
        return ((self.time - FIRST_SECOND) // DAY + 1).astype(np.int32)

    def head(self, rows: int) -> Impressions:
        """The first ``rows`` impressions."""
        names = ("user", "ad", "time", "clk", "pid")
        return replace(self, **{name: getattr(self, name)[:rows] for name in names})


def find_file(folder: Path, name: str) -> Path:
    """Path of a raw file; DataError says what to do if it is not there."""
    path = folder / name
    if not path.is_file():
        packed = sorted(item.name for item in folder.glob(f"{name}.*"))
        hint = f"unpack {packed[0]}" if packed else "give the folder of the unpacked files"
        raise DataError(f"{path}: no such file; {hint}")
    return path


def header_names(path: Path, expected: Mapping[str, object] | tuple[str, ...]) -> dict[str, str]:
    """Spelling in the file of each expected column; blanks around a name do not count."""
    found = {str(name).strip(): name for name in read_header(path)}
    require_columns(path, list(found), expected)
    return {name: found[name] for name in expected}


def csv_batches(path: Path, columns: Mapping[str, pa.DataType]) -> Iterator[dict[str, pa.Array]]:
    """Blocks of rows of a csv file too large for memory, with a progress bar.

    Raises:
        DataError: a column is missing, the file is unreadable or a value has the wrong type.
    """
    spelling = header_names(path, columns)
    convert = pa_csv.ConvertOptions(
        include_columns=list(spelling.values()),
        column_types={spelling[name]: kind for name, kind in columns.items()},
        null_values=list(MISSING),
        strings_can_be_null=True,
    )
    read = pa_csv.ReadOptions(block_size=BLOCK_BYTES)
    try:
        with path.open("rb") as raw, progress(path) as bar:
            stream = pa.PythonFile(raw, mode="r")
            with pa_csv.open_csv(stream, read, convert_options=convert) as reader:
                for batch in reader:
                    bar.update(raw.tell() - bar.n)
                    yield dict(zip(columns, batch.columns, strict=True))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: cannot be read: {text}") from error


def progress(path: Path) -> tqdm:
    """A bar over the bytes of a file."""
    return tqdm(
        total=path.stat().st_size,
        desc=f"read {path.name}",
        unit="B",
        unit_scale=True,
        delay=1.0,
        disable=not sys.stderr.isatty(),
    )


def present(batch: Mapping[str, pa.Array], name: str, path: Path) -> pa.Array:
    """A column of a block that may have no gaps."""
    if batch[name].null_count:
        raise DataError(
            f"{path}: {name}: expected a value in every row, found {batch[name].null_count} gaps"
        )
    return batch[name]


def read_users(path: Path) -> pd.DataFrame:
    """The 8 profile columns as text, missing is ``""``; indexed by userid, ascending."""
    return _read_table(path, "userid", PROFILE)


def read_ads(path: Path) -> pd.DataFrame:
    """Ad columns as text and the price in half octaves; indexed by adgroup_id, ascending."""
    ads = _read_table(path, "adgroup_id", (*AD, "price"))
    ads["price"] = price_bucket(ads["price"], f"{path}: price").to_numpy()
    return ads


def price_bucket(price: pd.Series, where: str) -> pd.Series:
    """Prices as text buckets (ours): from cents to 10^8, the plain number would drown the rest."""
    return log2_bucket(to_numbers(price, where, missing=True), per_octave=2)


def read_impressions(path: Path, users: pd.Index, ads: pd.Index) -> Impressions:
    """Impressions of the 8 days whose user has a profile and whose ad has features.

    Args:
        path: ``raw_sample.csv``.
        users: userid of each row of the user table.
        ads: adgroup_id of each row of the ad table.

    Raises:
        DataError: no row is in the 8 days, or none joins; a label is not 0 or 1.
    """
    pids, seen = Vocabulary(), Counter[str]()
    blocks, times = [], []
    for batch in csv_batches(path, _SAMPLE):
        columns = {name: present(batch, name, path) for name in _SAMPLE}
        time, clk = columns["time_stamp"].to_numpy(), columns["clk"].to_numpy()
        check_labels(clk, f"{path}: clk")
        dated = (time >= FIRST_SECOND) & (time < END_SECOND)
        user = users.get_indexer(columns["user"].to_numpy()).astype(np.int32)
        ad = ads.get_indexer(columns["adgroup_id"].to_numpy()).astype(np.int32)
        keep = dated & (user >= 0) & (ad >= 0)
        pid = pids.encode(columns["pid"])
        blocks.append([column[keep] for column in (user, ad, time, clk, pid)])
        times += [time.min(), time.max()]
        unjoined = int((dated & ~keep).sum())
        seen.update(read=len(time), undated=int((~dated).sum()), unjoined=unjoined)
    _check_any(path, seen, times)
    order = np.argsort(np.concatenate([block[2] for block in blocks]), kind="stable")
    user, ad, time, clk, pid = (
        np.concatenate(column)[order] for column in zip(*blocks, strict=True)
    )
    counts = (seen["read"], seen["undated"], seen["unjoined"])
    return Impressions(user, ad, time, clk, pid, pids.names, *counts)


def _check_any(path: Path, seen: Counter[str], times: list[np.int64]) -> None:
    """Raise DataError if no row is left, with the first reason."""
    if not seen["read"]:
        raise DataError(f"{path}: has no rows")
    if seen["undated"] == seen["read"]:
        raise DataError(
            f"{path}: time_stamp: expected seconds from {FIRST_SECOND} to {END_SECOND - 1}, the 8 "
            f"days from 2017-05-06 in China, found {min(times)} to {max(times)}"
        )
    if seen["undated"] + seen["unjoined"] == seen["read"]:
        raise DataError(
            f"{path}: user, adgroup_id: no row is in both user_profile.csv and ad_feature.csv"
        )


def _read_table(path: Path, key: str, columns: tuple[str, ...]) -> pd.DataFrame:
    spelling = header_names(path, (key, *columns))
    table = read_tables([path], list(spelling.values()))
    table.columns = pd.Index(spelling)
    index = pd.Index(to_integers(table[key], f"{path}: {key}"), name=key)
    if index.has_duplicates:
        twice = index[index.duplicated()][0]
        raise DataError(f"{path}: {key}: expected one row per value, found {twice} more than once")
    table = table[list(columns)].set_axis(index).sort_index()
    return table.mask(table.isin(MISSING), "")
