"""Makes small files in the schema of KuaiVideo_x1, with interests to be found.

Every user likes one of four genres and mostly watches videos of it. As in the published files:
rows sorted by time, several impressions of one page share a timestamp, a history holds the *first*
100 videos and is blank for a user's first page, ids have gaps, embeddings are there for all ids.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

START = 761_000_000_000
USERS, ITEMS, GENRES, WIDTH, KEPT = 40, 60, 4, 64, 100
PAGES, TRAIN_SHARE = 1_600, 0.8
ID_GAP = 7


def make_log(seed: int = 3) -> pd.DataFrame:
    """Impressions in time order: pages of 1 to 4; user 0 sees one page in five."""
    random = np.random.default_rng(seed)
    per_page = random.integers(1, 5, PAGES)
    page = np.repeat(np.arange(PAGES), per_page)
    viewer = np.where(random.random(PAGES) < 0.2, 0, random.integers(0, USERS, PAGES))
    user, item = viewer[page], random.integers(0, ITEMS, len(page))
    liked = random.integers(0, GENRES, USERS)[user] == item % GENRES
    click = random.random(len(page)) < np.where(liked, 0.85, 0.15)
    return pd.DataFrame(
        {
            "timestamp": START + np.cumsum(random.integers(1, 90_000, PAGES))[page],
            "user_id": user,
            "item_id": item * ID_GAP + 3,
            "is_click": click.astype(int),
            "is_like": (click & (random.random(len(page)) < 0.1)).astype(int),
            "is_follow": (click & (random.random(len(page)) < 0.02)).astype(int),
        }
    )


def with_histories(log: pd.DataFrame) -> pd.DataFrame:
    """Add ``pos_items`` and ``neg_items``: the first 100 of the user's earlier pages."""
    past: dict[int, tuple[list[str], list[str]]] = {user: ([], []) for user in log["user_id"]}
    rows = []
    for _, page in log.groupby(["timestamp", "user_id"], sort=False):
        histories = past[page["user_id"].iloc[0]]
        rows += [["^".join(history[:KEPT]) for history in histories]] * len(page)
        for item, click in zip(page["item_id"], page["is_click"], strict=True):
            histories[click].append(str(item))
    columns = pd.DataFrame(rows, columns=["neg_items", "pos_items"], index=log.index)
    return log.join(columns[["pos_items", "neg_items"]])


def write(folder: Path, log: pd.DataFrame | None = None) -> Path:
    """Write ``train.csv``, ``test.csv`` and the two embedding files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    log = with_histories(make_log() if log is None else log)
    cut = log["timestamp"].iloc[int(len(log) * TRAIN_SHARE)]
    log[log["timestamp"] < cut].to_csv(folder / "train.csv", index=False)
    log[log["timestamp"] >= cut].to_csv(folder / "test.csv", index=False)
    for name, count in (("item", ITEMS * ID_GAP), ("user", USERS)):
        with h5py.File(folder / f"{name}_visual_emb_dim64.h5", "w") as file:
            file["key"] = np.arange(count)
            file["value"] = np.random.default_rng(5).normal(size=(count, WIDTH))
    return folder
