"""KuaiRand's ``history_before_*.parquet``: videos shown before the log, and watched long."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from _common import check_times, to_integers
from _tables import read_header, require_columns

from fuxictr_loopfm.errors import DataError

_LISTS = ("watch_seq", "long_watch_seq")
_DAY_MS = 86_400_000


def read_earlier(path: Path, log_start: int) -> pd.DataFrame:
    """The videos shown before the log begins, in order, all dated to the user's last of them.

    Dating them so keeps them out of every impression that one of them might follow: a few users'
    lists reach minutes into the log.

    Args:
        path: a file with ``user_id``, ``last_time_ms`` and, in time order, the videos shown
            (``watch_seq``) and those of them watched long (``long_watch_seq``).
        log_start: ``time_ms`` of the log's first row.

    Returns:
        ``user_id``, ``time_ms``, ``video_id`` and ``long_view`` (0 or 1), all int64.

    Raises:
        DataError: the file cannot be read, or reaches a day or more into the log.
    """
    columns = ("user_id", "last_time_ms", *_LISTS)
    require_columns(path, read_header(path), columns)
    try:
        table = pq.read_table(path, columns=list(columns))
        (video, length), (long_video, long_length) = (_flat(table[name]) for name in _LISTS)
    except (OSError, pa.ArrowException, AttributeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    frame = table.drop_columns(list(_LISTS)).to_pandas()
    last = to_integers(frame["last_time_ms"], f"{path}: last_time_ms")
    check_times(last, "ms", f"{path}: last_time_ms")
    if last.max() > log_start + _DAY_MS:
        raise DataError(
            f"{path}: last_time_ms: expected histories that end before the log begins at "
            f"{log_start}, found {last.max()}; remove the file if the log holds those days"
        )
    user = to_integers(frame["user_id"], f"{path}: user_id")
    flags: list[int] = []
    shown_of, long_of = (
        np.split(values, np.cumsum(counts)[:-1])
        for values, counts in ((video, length), (long_video, long_length))
    )
    for shown, watched_long in zip(shown_of, long_of, strict=True):
        flags += long_flags(shown.tolist(), watched_long.tolist())
    return pd.DataFrame(
        {
            "user_id": np.repeat(user, length),
            "time_ms": np.repeat(last, length),
            "video_id": video,
            "long_view": np.array(flags, np.int64),
        }
    )


def long_flags(shown: Sequence[int], watched_long: Sequence[int]) -> list[int]:
    """1 for each shown video that was watched long, else 0.

    Both lists are in time order and end with the newest, but each may lack its oldest. So they are
    walked from the end: a shown video is the next of ``watched_long``, or was not watched long.
    """
    flags = [0] * len(shown)
    left = len(watched_long)
    for place in reversed(range(len(shown))):
        if left and shown[place] == watched_long[left - 1]:
            flags[place] = 1
            left -= 1
    return flags


def _flat(lists: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """All values of a column of lists, and how many each row has; none where a list is missing."""
    array = lists.combine_chunks()
    length = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    return array.flatten().to_numpy(zero_copy_only=False).astype(np.int64), length
