"""Made-up reviews and metadata in Amazon's forms of 2018 (JSON) and 2014 (Python literals)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DAY = 86_400
START = 1_330_000_000 // DAY * DAY
USERS, ITEMS, CATEGORIES = 60, 40, 4
Record = dict[str, Any]


def review(user: str, item: str, day: int) -> Record:
    """One review in the form of 2018, with the keys that say too much."""
    return {
        "overall": 5.0,
        "verified": True,
        "reviewTime": "06 17, 2018",
        "reviewerID": user,
        "asin": item,
        "style": {"Gift Amount:": " 50"},
        "reviewText": 'It\'s "fine", {really}',
        "unixReviewTime": START + day * DAY,
    }


def make_reviews(seed: int = 3) -> list[Record]:
    """Reviews over 400 days, in no order; items appear over time, users like one category."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        days = np.sort(random.integers(0, 400, 5 + int(random.integers(0, 12))))
        for day in days.repeat(random.integers(1, 3, len(days))):
            known = 3 + int(day) * (ITEMS - 3) // 400
            item = int(random.integers(0, known))
            if random.random() < 0.8:
                item = item // CATEGORIES * CATEGORIES + user % CATEGORIES
            rows.append(review(f"A{user:03}", f"{item:010}", int(day)))
    once = {(row["reviewerID"], row["asin"], row["unixReviewTime"]): row for row in rows}
    kept = list(once.values())
    return [kept[row] for row in random.permutation(len(kept))]


def make_meta() -> list[Record]:
    """Metadata in the form of 2018; the first items are awkward ones."""
    rows: list[Record] = [
        {
            "asin": f"{item:010}",
            "category": ["Gift Cards", f"Kind {item % CATEGORIES}"],
            "brand": f"Brand {item % 7}",
            "rank": "1,786 in Gift Cards (",
            "main_cat": "Gift Cards",
            "price": f"${item + 1}.00",
            "also_buy": ["0000000001"],
        }
        for item in range(ITEMS + 5)
    ]
    rows[0].update(category=[], brand="", price="")
    rows[1].update(category=["Gift Cards", "</span></span>"], price="$1,250.00")
    rows[2].update(brand="b" * 61, price=".a-box-inner{background-color:#fff}")
    rows[3].update(category=["Kind 3", "A sentence of the page, " * 4], price="$5.00 - $9.99")
    del rows[4]["brand"], rows[4]["price"]
    return rows


def as_2014(rows: Iterable[Record]) -> list[str]:
    """The same metadata as Python literals: lists of lists, prices as numbers."""
    lines = []
    for row in rows:
        old = {key: value for key, value in row.items() if key not in ("category", "price")}
        old["categories"] = [["Elsewhere"], row["category"]] if row["category"] else []
        old["description"] = 'Dad\'s "best" {card}, 1+1'
        if row.get("price", "").startswith("$") and "-" not in row["price"]:
            old["price"] = float(row["price"][1:].replace(",", ""))
        lines.append(repr(old))
    return lines


def write_lines(path: Path, rows: Sequence[Record | str]) -> Path:
    """One line per record, a text as it is; gzip where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    content = ("\n".join(lines) + "\n").encode("utf-8", errors="surrogatepass")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
