"""Makes small files in the schema of AmazonElectronics_x1, with interests to be found.

Every user buys mostly from two of the categories. As in the published files: at least 5 reviews per
user; a positive and a random negative for each review but the first, the last review's in
``test.csv``; histories joined by ``^`` and never cut; rows shuffled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

USERS, ITEMS, CATEGORIES = 160, 180, 9
LONGEST = 130
COLUMNS = ["label", "user_id", "item_id", "cate_id", "item_history", "cate_history"]


def make_lives(seed: int = 4) -> list[list[int]]:
    """Items of each user in the order of the reviews; user 0 has 130, the others 5 to about 40."""
    random = np.random.default_rng(seed)
    lives = []
    for user in range(USERS):
        count = LONGEST if user == 0 else 5 + int(random.geometric(0.1)) % 40
        liked = random.choice(CATEGORIES, 2, replace=False)
        wanted = np.flatnonzero(np.isin(np.arange(ITEMS) % CATEGORIES, liked))
        any_item = random.integers(0, ITEMS, count)
        lives.append(
            np.where(random.random(count) < 0.9, random.choice(wanted, count), any_item).tolist()
        )
    return lives


def rows_of(lives: list[list[int]], seed: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``(train, test)`` in the published schema; item i is of category ``i % 9``."""
    random = np.random.default_rng(seed)
    rows: tuple[list[list[object]], list[list[object]]] = ([], [])
    for user, items in enumerate(lives):
        for position in range(1, len(items)):
            past = items[:position]
            histories = (_joined(past), _joined([item % CATEGORIES for item in past]))
            other = (items[position] + int(random.integers(1, ITEMS))) % ITEMS
            for label, item in ((1, items[position]), (0, other)):
                is_test = position == len(items) - 1
                rows[is_test].append([label, user, item, item % CATEGORIES, *histories])
    train, test = (pd.DataFrame(part, columns=COLUMNS) for part in rows)
    return train, test


def write(folder: Path, tables: tuple[pd.DataFrame, pd.DataFrame] | None = None) -> Path:
    """Write ``train.csv`` and ``test.csv``, shuffled unless ``tables`` are given."""
    folder.mkdir(parents=True, exist_ok=True)
    if tables is None:
        train, test = (table.sample(frac=1, random_state=1234) for table in rows_of(make_lives()))
    else:
        train, test = tables
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    return folder


def _joined(values: list[int]) -> str:
    return "^".join(map(str, values))
