"""Amazon's review and metadata files, in the forms of 2014 and 2018, as arrays and a table."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _amazon_lines import records
from _common import log2_bucket

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.prepared.parts import short

# 1995-01-01, the year of the first review, and 2100-01-01.
FIRST_SECOND, END_SECOND = 788_918_400, 4_102_444_800
# What is longer, or holds markup, is text of the page that got into the category or the brand.
LONGEST_NAME = 60
_PRICE = re.compile(r"\$?\s*([0-9][0-9,]*(?:\.[0-9]+)?)(?:\s*-\s*\$?\s*[0-9][0-9,.]*)?")
_LONGEST_PRICE = 40
_DEAREST = 1e12
_YEAR_2023 = {"user_id", "parent_asin"}


@dataclass(frozen=True)
class Reviews:
    """R reviews in time order; those of one time keep the order of the file.

    Attributes:
        user: (R,) int64 codes of ``users``.
        item: (R,) int64 codes of ``items``.
        time: (R,) int64 seconds, non-decreasing.
        users: text of each user code.
        items: text of each item code.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    users: list[str]
    items: list[str]


def read_reviews(path: Path) -> tuple[Reviews, list[str]]:
    """Who reviewed what and when, and notices for the user.

    A review that repeats an earlier one's user, item and time is dropped, and a notice says so.

    Raises:
        DataError: no reviews, or a line without a user, an item or a plausible time.
    """
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    user, item, time, line = array("q"), array("q"), array("q"), array("q")
    for number, record in records(path):
        where = f"{path}: line {number}"
        time.append(_time(record, where))
        user.append(_code(record, "reviewerID", users, where))
        item.append(_code(record, "asin", items, where))
        line.append(number)
    if not time:
        raise DataError(f"{path}: expected reviews, found none")
    columns = [np.frombuffer(column, np.int64) for column in (user, item, time, line)]
    keep, notices = _first_of_copies(path, *columns)
    order = keep[np.argsort(columns[2][keep], kind="stable")]
    in_order = (column[order] for column in columns[:3])
    return Reviews(*in_order, list(users), list(items)), notices


def read_items(path: Path, items: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """cate_id, brand and price of each item as text, one row per item, and a notice of the gaps.

    Missing is ``""``. The category is the last one of the (last) list, as in DIN's preparation; the
    price is in half octaves. Of several lines for one item the first counts.

    Args:
        path: the metadata file of the same category.
        items: the items of the reviews.

    Raises:
        DataError: a line without an item or with another form, or none of the items is there.
    """
    row_of = {name: row for row, name in enumerate(items)}
    found: dict[int, tuple[str, str, float]] = {}
    for number, record in records(path):
        where = f"{path}: line {number}"
        row = row_of.get(_text(record, "asin", where))
        if row is not None and row not in found:
            found[row] = (_category(record, where), _name(record.get("brand")), _price(record))
    if not found:
        raise DataError(f"{path}: asin: none of the {len(items):,} items of the reviews is there")
    nothing = ("", "", math.nan)
    table = pd.DataFrame(
        [found.get(row, nothing) for row in range(len(items))],
        columns=["cate_id", "brand", "price"],
    )
    table["price"] = log2_bucket(table["price"], per_octave=2)
    gaps = ", ".join(f"{int((table[name] == '').sum()):,} no {name}" for name in table)
    return table, f"{path}: {len(found):,} of {len(items):,} items are there; {gaps}"


def _first_of_copies(
    path: Path, user: np.ndarray, item: np.ndarray, time: np.ndarray, line: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Ascending rows that repeat no earlier one, and how many do and where the first is."""
    order = np.lexsort((line, time, item, user))
    same = np.ones(len(order) - 1, bool)
    for column in (user, item, time):
        same &= column[order[1:]] == column[order[:-1]]
    copies, repeated = order[1:][same], order[:-1][same]
    notices = []
    if len(copies):
        first = int(np.argmin(copies))
        notices.append(
            f"{path}: {len(copies):,} reviews repeat an earlier one's user, item and time and are "
            f"dropped; the first, line {line[copies[first]]}, repeats line {line[repeated[first]]}"
        )
    kept = np.ones(len(order), bool)
    kept[copies] = False
    return np.flatnonzero(kept), notices


def _time(record: Mapping[str, Any], where: str) -> int:
    time = record.get("unixReviewTime")
    if record.keys() >= _YEAR_2023:
        raise DataError(
            f"{where}: expected reviews in the form of 2014 or 2018 (reviewerID, asin, "
            "unixReviewTime), found that of 2023 (user_id, parent_asin)"
        )
    if type(time) is int and FIRST_SECOND <= time < END_SECOND:
        return time
    raise DataError(
        f"{where}: unixReviewTime: expected whole seconds from {FIRST_SECOND} (1995) to "
        f"{END_SECOND - 1} (2099), found {_shown(record, 'unixReviewTime')}"
    )


def _code(record: Mapping[str, Any], key: str, codes: dict[str, int], where: str) -> int:
    text = _text(record, key, where)
    code = codes.get(text)
    if code is None:
        # Control characters and halves of characters have no place in an id, nor in a file.
        if not text.isprintable():
            raise DataError(f"{where}: {key}: expected printable text, found {short(text)}")
        code = codes[text] = len(codes)
    return code


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    text = record.get(key)
    if isinstance(text, str) and text.strip():
        return text
    raise DataError(f"{where}: {key}: expected text, found {_shown(record, key)}")


def _shown(record: Mapping[str, Any], key: str) -> str:
    return short(record[key]) if key in record else f"only {short(sorted(map(str, record)))}"


def _category(record: Mapping[str, Any], where: str) -> str:
    """The last category; 2018 has one list, ``category``, 2014 a list of lists."""
    names = record.get("category")
    if names is None:
        lists = record.get("categories") or [[]]
        names = lists[-1] if isinstance(lists, list) else lists
    if not isinstance(names, list):
        raise DataError(f"{where}: category: expected a list of texts, found {short(names)}")
    kept = [name for name in map(_name, names) if name]
    return kept[-1] if kept else ""


def _name(value: object) -> str:
    """A category or brand, ``""`` where it is missing or text of the page."""
    text = value.strip() if isinstance(value, str) else ""
    page = "<" in text or len(text) > LONGEST_NAME or not text.isprintable()
    return "" if page else text


def _price(record: Mapping[str, Any]) -> float:
    """A number, a text such as ``$1,250.00`` or the low end of a range; NaN for anything else."""
    price = record.get("price")
    if isinstance(price, str) and len(price) <= _LONGEST_PRICE:
        match = _PRICE.fullmatch(price.strip())
        price = float(match[1].replace(",", "")) if match else None
    usable = isinstance(price, (int, float)) and 0 <= price < _DEAREST
    return float(price) if usable and price is not None else math.nan
