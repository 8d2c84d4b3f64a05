from __future__ import annotations

from html.parser import HTMLParser

import pytest

from fuxictr_loopfm.evidence.leaderboard.context import describe
from fuxictr_loopfm.evidence.leaderboard.html import to_html
from fuxictr_loopfm.evidence.leaderboard.render import render_table
from fuxictr_loopfm.evidence.leaderboard.rows import summarise
from fuxictr_loopfm.records.record import RunRecord
from tests.unit.evidence.runs import HOSTILE, compared, run, seeds


class Page(HTMLParser):
    """Collects table cells, text and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.cell = tag in ("td", "th") or (
            self.cell and tag in ("button", "span", "svg", "line", "circle")
        )
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data


def page(records: list[RunRecord], comparisons=()) -> tuple[str, Page]:
    text = to_html(summarise(records, comparisons), describe(records))
    return text, Page(text)


def test_html_shows_the_same_cells_as_markdown():
    records = seeds("base", [0.70, 0.71, 0.69]) + seeds("KD", [0.73, 0.72, 0.71])
    markdown = render_table(records, "DeepFM").splitlines()
    lines = [line.replace("\\", "") for line in markdown if "--:" not in line]
    expected = [line.strip("| ").split(" | ") for line in lines]
    expected[1] = ["Needs nothing at serving"]
    assert page(records)[1].rows == expected


def test_html_escapes_text_and_asks_for_nothing_from_elsewhere():
    text, parsed = page([run("KD", encoder=HOSTILE, model=HOSTILE, command=HOSTILE, split=HOSTILE)])
    assert parsed.rows[2][2] == HOSTILE
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    links = [
        value
        for _, attributes in parsed.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset")
    ]
    assert links == ["data:,"]
    assert "http://" not in text and "https://" not in text and "@import" not in text


def test_html_headers_name_their_columns_and_sort_values_are_numbers_or_blank():
    _, parsed = page([run(metrics={"AUC": 0.7, "logloss": 0.5, "NE": 0.9}), run("KD", auc=0.8)])
    heads = [attributes for tag, attributes in parsed.tags if tag == "th"]
    assert [head["scope"] for head in heads] == ["col"] * 14 + ["rowgroup"] + ["row"] * 2
    values = [
        attributes["data-value"] for tag, attributes in parsed.tags if "data-value" in attributes
    ]
    first, second = values[:14], values[14:]
    assert first[:5] == ["1", "KD", "", "", "0.8"] and float(first[8]) == pytest.approx(0.1)
    assert second[5] == second[8] == second[9] == second[10] == ""


def test_html_draws_a_difference_as_a_dot_and_its_interval_as_a_bar():
    base, kd = seeds("base", [0.70, 0.71]), seeds("KD", [0.72, 0.73])
    between = compared(kd, base, 0.02, 0.01, 0.04)
    text, parsed = page([*base, *kd], [between])
    (dot,) = [attributes for tag, attributes in parsed.tags if tag == "circle"]
    bar, zero = (
        [a for t, a in parsed.tags if t == "line" and a["class"] == kind] for kind in ("up", "zero")
    )
    assert dot["class"] == "up" and float(dot["cx"]) == pytest.approx(48 + 44 / 2, abs=0.1)
    assert (float(bar[0]["x1"]), float(bar[0]["x2"])) == pytest.approx((59, 92), abs=0.1)
    assert float(zero[0]["x1"]) == 48 and ">[+0.0100, +0.0400]<" in text
    _, parsed = page([*base, *kd], [compared(kd, base, 0.02, -0.01, 0.04)])
    assert [a["class"] for tag, a in parsed.tags if tag == "circle"] == ["none"]
