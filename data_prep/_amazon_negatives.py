"""Draws for each review an item that its user never reviewed, among those that existed by then."""

from __future__ import annotations

import numpy as np


def sample_negatives(user: np.ndarray, item: np.ndarray, time: np.ndarray, seed: int) -> np.ndarray:
    """(R,) int64 item codes, one per review; -1 where no item is left to draw.

    An item exists from the time of its first review on, that time included. All items that exist
    by then and that the user never reviewed, before or after, are equally likely.

    Args:
        user: (R,) int64 codes from 0.
        item: (R,) int64 codes from 0, each of which occurs.
        time: (R,) int64, non-decreasing.
        seed: of the random numbers.
    """
    first_row = np.unique(item, return_index=True)[1]
    by_age = np.argsort(first_row, kind="stable")
    rank = np.empty(len(by_age), np.int64)
    rank[by_age] = np.arange(len(by_age))
    existing = np.searchsorted(time[first_row[by_age]], time, side="right")

    # Each user's own items as ascending ranks: own[start[u] : start[u + 1]].
    items = len(by_age)
    pairs = np.unique(user * items + rank[item])
    owner, own = pairs // items, pairs % items
    start = np.searchsorted(owner, np.arange(int(user.max()) + 2))
    begin = start[user]
    free = existing - (np.searchsorted(pairs, user * items + existing) - begin)

    drawn = np.random.default_rng(seed).integers(0, np.maximum(free, 1))
    # Before a user's own item of rank s stand s minus the number of own items before it others;
    # so the draw moves up by one for each own item with at most that many others before it.
    others = own - (np.arange(len(own)) - start[owner])
    wide = items + 1
    passed = np.searchsorted(owner * wide + others, user * wide + drawn, side="right") - begin
    return np.where(free > 0, by_age[np.minimum(drawn + passed, items - 1)], -1)
