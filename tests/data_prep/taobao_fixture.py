"""Made-up TaobaoAd files in the raw schema, with a planted interest.

A user behaves mostly in one category a day. An impression is clicked far more often if the ad's
category is among the user's newest behaviours strictly before it, so histories predict clicks.
Gaps are those of the public files: users without a profile, ads without features, ``<NULL>``
brands, empty levels, rows in no order, a header that ends in a blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

FIRST_SECOND, DAY = 1_494_000_000, 86_400
LOG_DAYS_BEFORE = 14
RECENT = 5
PROFILE_HEADER = (
    "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,"
    "occupation,new_user_class_level "
)
BTAGS = np.array(["pv", "cart", "fav", "buy"])
X1_HEADER = (
    "clk,btag_his,cate_his,brand_his,userid,cms_segid,cms_group_id,final_gender_code,age_level,"
    "pvalue_level,shopping_level,occupation,new_user_class_level,adgroup_id,cate_id,campaign_id,"
    "customer,brand,price,pid,btag"
)


@dataclass(frozen=True)
class Size:
    """How much to make; the public files have 23 impressions and 640 behaviours per user."""

    users: int = 80
    days: int = 8
    impressions: int = 24
    behaviours: int = 60
    categories: int = 8


def write_raw(folder: Path, size: Size | None = None, seed: int = 7) -> Path:
    """Write the four files to ``folder``."""
    size = size or Size()
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    interest = random.integers(0, size.categories, (size.users, LOG_DAYS_BEFORE + size.days))
    behaviour = make_behaviour(random, size, interest)
    ads = make_ads(random, size)
    sample = make_sample(random, size, interest, behaviour, ads)
    write(folder / "user_profile.csv", make_users(random, size), PROFILE_HEADER)
    # Of 50 ads the last one has no features, of 20 users the last one has no profile.
    write(folder / "ad_feature.csv", ads.filter(pl.col("adgroup_id") % 50 != 49))
    write(folder / "raw_sample.csv", sample)
    write(folder / "behavior_log.csv", behaviour)
    return folder


def make_users(random: np.random.Generator, size: Size) -> pl.DataFrame:
    """Profiles of 19 of 20 users; ``pvalue_level`` and ``new_user_class_level`` have gaps."""
    user = np.arange(size.users)
    user = random.permutation(user[user % 20 != 19])
    columns = {"userid": user}
    names = PROFILE_HEADER.strip().split(",")[1:]
    for name, high in zip(names, (97, 13, 3, 7, 4, 4, 2, 5), strict=True):
        columns[name] = random.integers(1, high, len(user))
    table = pl.DataFrame(columns)
    for name, share in (("pvalue_level", 0.5), ("new_user_class_level", 0.3)):
        gap = pl.Series(random.random(len(user)) < share)
        table = table.with_columns(pl.when(gap).then(None).otherwise(pl.col(name)).alias(name))
    return table


def make_ads(random: np.random.Generator, size: Size) -> pl.DataFrame:
    """All ads; about a third have ``<NULL>`` for a brand."""
    count = max(100, size.users * 3 // 4)
    brand = random.integers(1, 40 * size.categories, count)
    return pl.DataFrame(
        {
            "adgroup_id": np.arange(count),
            "cate_id": category_id(random.integers(0, size.categories, count)),
            "campaign_id": random.integers(1, count, count),
            "customer": random.integers(1, count, count),
            "brand": np.where(random.random(count) < 0.3, "<NULL>", brand.astype("U")),
            "price": np.round(np.exp(random.normal(4, 2, count)), 1),
        }
    )


def make_behaviour(random: np.random.Generator, size: Size, interest: np.ndarray) -> pl.DataFrame:
    """The behaviour log: four in five behaviours are in the category of the day."""
    count, days = size.users * size.behaviours, interest.shape[1]
    user = random.integers(0, size.users, count)
    second = random.integers(0, days * DAY, count)
    category = random.integers(0, size.categories, count)
    category = np.where(random.random(count) < 0.8, interest[user, second // DAY], category)
    return pl.DataFrame(
        {
            "user": user,
            "time_stamp": FIRST_SECOND - LOG_DAYS_BEFORE * DAY + second,
            "btag": BTAGS[random.choice(4, count, p=[0.9, 0.05, 0.03, 0.02])],
            "cate": category_id(category),
            "brand": category * 40 + random.integers(1, 40, count),
        }
    )


def make_sample(
    random: np.random.Generator,
    size: Size,
    interest: np.ndarray,
    behaviour: pl.DataFrame,
    ads: pl.DataFrame,
) -> pl.DataFrame:
    """Impressions, up to 3 at the same second; half of the ads fit the day's interest."""
    views = size.users * size.impressions // 2
    shown = random.integers(1, 4, views)
    user = np.repeat(random.integers(0, size.users, views), shown)
    time = np.repeat(FIRST_SECOND + random.integers(0, size.days * DAY, views), shown)
    ad = random.integers(0, len(ads), len(user))
    cate = ads["cate_id"].to_numpy()
    by_category = np.argsort(cate, kind="stable")
    wanted = category_id(interest[user, (time - FIRST_SECOND) // DAY + LOG_DAYS_BEFORE])
    first, stop = (np.searchsorted(cate[by_category], wanted, side=s) for s in ("left", "right"))
    fitting = by_category[np.minimum(first + ad % np.maximum(stop - first, 1), len(ads) - 1)]
    ad = np.where(random.random(len(user)) < 0.5, fitting, ad)
    likely = recently_seen(behaviour, user, time, cate[ad])
    clk = (random.random(len(user)) < np.where(likely, 0.6, 0.05)).astype(int)
    pid = np.where(user % 2 == 0, "430548_1007", "430539_1007")
    table = pl.DataFrame({"user": user, "time_stamp": time, "adgroup_id": ad, "pid": pid})
    return table.with_columns(nonclk=pl.Series(1 - clk), clk=pl.Series(clk))


def recently_seen(
    behaviour: pl.DataFrame, user: np.ndarray, time: np.ndarray, cate: np.ndarray
) -> np.ndarray:
    """Whether ``cate`` is the most of each user's ``RECENT`` newest behaviours before ``time``."""
    past = behaviour.sort("user", "time_stamp", maintain_order=True)
    span = FIRST_SECOND * 2
    position = past["user"].to_numpy() * span + past["time_stamp"].to_numpy()
    end = np.searchsorted(position, user * span + time)
    hits = np.zeros(len(user), int)
    past_user, past_cate = past["user"].to_numpy(), past["cate"].to_numpy()
    for back in range(1, RECENT + 1):
        row = np.maximum(end - back, 0)
        hits += (end >= back) & (past_user[row] == user) & (past_cate[row] == cate)
    return hits > RECENT // 2


def category_id(category: np.ndarray) -> np.ndarray:
    """Ids of one to five digits, as in the public files."""
    return 7 + category * 1_613 % 12_960


def write(path: Path, table: pl.DataFrame, header: str | None = None) -> None:
    """Write a csv; ``header`` replaces the line that names the columns."""
    with path.open("wb") as file:
        file.write((header or ",".join(table.columns)).encode() + b"\n")
        table.write_csv(file, include_header=False)


def write_x1(folder: Path, train: int = 700, test: int = 100, seed: int = 7) -> Path:
    """Write ``train.csv`` and ``test.csv`` in the schema of TaobaoAd_x1, ids already coded."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for name, rows in (("train.csv", train), ("test.csv", test)):
        lines = [X1_HEADER]
        for _ in range(rows):
            user = random.integers(1, 20)
            lengths = random.integers(0, 50) + np.array([0, 0, -random.integers(0, 2)])
            histories = [
                "^".join(str(1 + (user * 7 + step) % high) for step in range(max(length, 0)))
                for length, high in zip(lengths, (4, 30, 90), strict=True)
            ]
            codes = random.integers(0, 9, 8)
            ad = random.integers(1, 40, 5)
            row = [random.integers(0, 2), *histories, user, *codes, *ad, ad[0] * 9.5, user % 2, 1]
            lines.append(",".join(str(value) for value in row))
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder
