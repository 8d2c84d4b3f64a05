"""A log of the size users have, from raw rows to a board of two methods, each stage measured.

Three million impressions of 300,000 users (four for the median user, ten on average) and 45,000
items are generated, prepared by ``data_prep/custom.py``, and given to ``loopfm benchmark`` as
anybody would. Each user likes a few categories, so clicks can be predicted from past events.

    python -m tests.rehearsal.own_log --out runs/own_log
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from tests.rehearsal.measured import Measured, run_measured

ROOT = Path(__file__).resolve().parents[2]
DATASET_ID = "OwnLog_s1"
METHODS = ("base", "KD+LoopFM")
CATEGORIES, FAVOURITES, WEEK = 300, 3, 7 * 86_400
# Lognormal activity: the median is 4 and the mean 10.
MEDIAN_EVENTS, SPREAD = 4.0, 1.354
GIB = 1 << 30


@dataclass(frozen=True)
class LogSize:
    """Rows and distinct values."""

    events: int = 3_000_000
    users: int = 300_000
    items: int = 45_000

    @classmethod
    def scaled(cls, scale: float) -> LogSize:
        """Everything times ``scale``."""
        return cls(**{name: max(round(count * scale), 60) for name, count in asdict(cls()).items()})


def log_frame(size: LogSize, seed: int) -> pl.DataFrame:
    """Impressions in no order; the same size and seed give the same rows.

    A click is likely where the item's category is one of the user's favourites, which is all that
    histories can tell, and follows the item's and the user's own rate as well.
    """
    random = np.random.default_rng(seed)
    user = _users(random, size)
    category_of = random.integers(0, CATEGORIES, size.items)
    by_category = np.argsort(category_of, kind="stable")
    favourites = random.integers(0, CATEGORIES, (size.users, FAVOURITES))
    wanted = favourites[user, random.integers(0, FAVOURITES, len(user))]
    popular = _skewed(random, size.items, len(user))
    first = np.searchsorted(category_of[by_category], wanted)
    count = np.bincount(category_of, minlength=CATEGORIES)[wanted]
    fitting = by_category[first + (popular % np.maximum(count, 1))]
    item = np.where((random.random(len(user)) < 0.4) & (count > 0), fitting, popular)
    liked = (favourites[user] == category_of[item][:, None]).any(axis=1)
    logit = -1.7 + 1.8 * liked + 0.5 * random.normal(size=size.items)[item]
    logit += 0.5 * random.normal(size=size.users)[user]
    return pl.DataFrame(
        {
            "user_id": user.astype(np.int64) * 7 + 1_000_000,
            "item_id": item.astype(np.int64) * 3 + 10_000,
            "category": category_of[item].astype(np.int32),
            "hour": _hour(time := random.integers(0, WEEK, len(user))),
            "age": (user * 31 % 60 + 15).astype(np.int32),
            "city": (user * 17 % 400).astype(np.int32),
            "shown_at": time + 1_700_000_000,
            "clicked": (random.random(len(user)) < 1 / (1 + np.exp(-logit))).astype(np.int8),
        }
    )


def _users(random: np.random.Generator, size: LogSize) -> np.ndarray:
    """(events,) the user of each event; every user has one or more while there is room."""
    counts = np.maximum(random.lognormal(np.log(MEDIAN_EVENTS), SPREAD, size.users).round(), 1)
    user = np.repeat(np.arange(size.users), counts.astype(np.int64))
    random.shuffle(user)
    more = random.integers(0, len(user), max(size.events - len(user), 0))
    return np.concatenate([user, user[more]])[: size.events]


def _skewed(random: np.random.Generator, count: int, rows: int) -> np.ndarray:
    """(rows,) numbers below ``count``, number r about (r + 20) ^ -0.8 often."""
    low, high = 20.0**0.2, (count + 20.0) ** 0.2
    return (
        ((low + (high - low) * random.random(rows)) ** 5 - 20).astype(np.int64).clip(0, count - 1)
    )


def _hour(time: np.ndarray) -> np.ndarray:
    return (time // 3600 % 24).astype(np.int32)


def spec_of(log: Path) -> dict[str, Any]:
    """What ``data_prep/custom.py`` is told of the log."""
    return {
        "dataset_id": DATASET_ID,
        "source": "made up by tests/rehearsal/own_log.py",
        "log": str(log),
        "user": "user_id",
        "item": "item_id",
        "time": {"column": "shown_at", "unit": "s"},
        "label": "clicked",
        "duplicates": "keep",
        "vertical": ["user_id", "item_id", "category", "hour"],
        "teacher_only": ["age", "city"],
        "history": {"name": "item_history", "max_len": 50},
        "item_columns": ["item_id", "category"],
        "periods": {"kind": "chunks", "count": 8},
        "teacher_periods": 4,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate, prepare, run the board; 0 if all passed."""
    options = _parse(arguments)
    out = options.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    raw = out / "raw"
    raw.mkdir(parents=True)
    size = LogSize.scaled(options.scale)
    log_frame(size, options.seed).write_parquet(raw / "log.parquet")
    (raw / "spec.yaml").write_text(yaml.safe_dump(spec_of(raw / "log.parquet")), encoding="utf-8")
    report: dict[str, Any] = {"size": asdict(size), "stages": {}}
    for name, command in _commands(out, options).items():
        print(f"{name} ...", flush=True)
        measured = run_measured(
            command, cwd=ROOT, log=out / f"{name}.log", disk=out, limit_bytes=16 * GIB
        )
        report["stages"][name] = asdict(measured)
        (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        print(_line(name, measured), flush=True)
        if measured.code != 0:
            print(f"error: {name} failed; see {out / f'{name}.log'}", file=sys.stderr)
            return 1
    for line in _steps((out / "board" / "benchmark.log").read_text(encoding="utf-8")):
        print(line)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.rehearsal.own_log", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of rows and ids")
    parser.add_argument("--out", type=Path, default=Path("runs/own_log"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=["DeepFM"])
    parser.add_argument("--seeds", type=int, default=1)
    return parser.parse_args(arguments)


def _commands(out: Path, options: argparse.Namespace) -> Mapping[str, list[str]]:
    prepared = str(out / "prepared" / DATASET_ID)
    prepare = [sys.executable, "data_prep/custom.py", "--spec", str(out / "raw" / "spec.yaml")]
    board = [sys.executable, "-m", "fuxictr_loopfm", "benchmark", "--dataset", DATASET_ID]
    board += ["--data", prepared, "--models", *options.models, "--methods", *METHODS]
    board += ["--seeds", str(options.seeds), "--out", str(out / "board")]
    return {"prepare": [*prepare, "--out", prepared], "board": board}


def _line(name: str, measured: Measured) -> str:
    peak = measured.peak_bytes / GIB
    return f"{name}: {measured.wall:.0f} s, {measured.cpu:.0f} s of CPU, {peak:.2f} GiB at most"


def _steps(log: str) -> list[str]:
    """The log's lines that say when a stage of a run began or ended."""
    wanted = re.compile(
        r"Train the teacher|Start training|Epoch=\d+ end|Training finished|Evaluation|Log |Metrics"
        r"|Encode|Structure|Table",
        re.IGNORECASE,
    )
    return [line for line in log.splitlines() if wanted.search(line)]


if __name__ == "__main__":
    sys.exit(main())
