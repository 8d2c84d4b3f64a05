"""The log behind the archives, and how often its events precede a sample: plain loops, no reader.

Nothing here may change: archives of earlier versions were written from this very log.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

LOG_FILE = "log.csv"
EVENTS, PERIODS = 240, 4
USERS = ("ann", "Bob", "\u00e9mile", "\u7528\u6237", "u 5", "u,6", '"7"', "8", "", "zoe")
ACCOUNTS = (-(2**62), -1, 0, 7, 2**62)
FIRST_SECOND = 1_600_000_000
MAX_LEN = 3
# Which events of the log each kind of history may hold: its key, its delay in seconds.
RULES: dict[str, tuple[str, int]] = {"user_id": ("user_id", 0), "account": ("account", 90)}


def log_rows() -> list[dict[str, Any]]:
    """240 events in time order with ties; the label follows the user's interest in a genre."""
    draw = random.Random(41)
    rows: list[dict[str, Any]] = []
    time = FIRST_SECOND
    for number in range(EVENTS):
        user, item = draw.randrange(len(USERS)), draw.randrange(8)
        time += draw.choice((0, 0, 30, 60, 300))
        wanted = user % 2 == item % 2
        rows.append(
            {
                "timestamp": time,
                "period": number * PERIODS // EVENTS + 1,
                "click": int(draw.random() < (0.9 if wanted else 0.1)),
                "user_id": USERS[user],
                "item_id": f"i{item}",
                "genre": f"g{item % 2}",
                "hour": str(time // 3600 % 24),
                "price": round(draw.uniform(-2.0, 2.0), 3),
                "segment": f"s{user % 2}",
                "account": ACCOUNTS[user % len(ACCOUNTS)],
            }
        )
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """The log as text."""
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, Any]]:
    """What :func:`write_csv` wrote, numbers as numbers."""
    whole = ("timestamp", "period", "click", "account")
    with open(path, encoding="utf-8", newline="") as stream:
        return [
            {**row, **{name: int(row[name]) for name in whole}, "price": float(row["price"])}
            for row in csv.DictReader(stream)
        ]


def histories(rows: list[dict[str, Any]], name: str, first_logged: int) -> list[list[int]]:
    """For each event of the log, the newest three logged events before it under a rule.

    Args:
        rows: the log.
        name: of the rule, see ``RULES``.
        first_logged: the first period that was logged.
    """
    key, delay = RULES[name]
    found = []
    for sample in rows:
        seen = [
            number
            for number, event in enumerate(rows)
            if event[key] == sample[key]
            and event["period"] >= first_logged
            and event["timestamp"] < sample["timestamp"] - delay
        ]
        found.append(seen[-MAX_LEN:])
    return found


def item_histories(rows: list[dict[str, Any]]) -> list[list[str]]:
    """For each event, the items of the same user's newest three events before it."""
    found = []
    for sample in rows:
        same = [event for event in rows if event["user_id"] == sample["user_id"]]
        seen = [event["item_id"] for event in same if event["timestamp"] < sample["timestamp"]]
        found.append(seen[-MAX_LEN:])
    return found
