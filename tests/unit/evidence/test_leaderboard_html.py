from __future__ import annotations

from html.parser import HTMLParser

import pytest

from fuxictr_loopfm.evidence.leaderboard.context import describe
from fuxictr_loopfm.evidence.leaderboard.html import to_html
from fuxictr_loopfm.evidence.leaderboard.render import render_table
from fuxictr_loopfm.evidence.leaderboard.rows import summarise
from fuxictr_loopfm.records.record import RunRecord
from tests.unit.evidence.runs import HOSTILE, run, seeds


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
        self.cell = tag in ("td", "th") or (self.cell and tag in ("button", "i", "span"))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data


def page(records: list[RunRecord]) -> tuple[str, Page]:
    text = to_html(summarise(records), describe(records))
    return text, Page(text)


def test_html_shows_the_same_cells_as_markdown():
    records = seeds("base", [0.70, 0.71, 0.69]) + seeds("KD", [0.73, 0.72, 0.71])
    markdown = render_table(records, "DeepFM").splitlines()
    expected = [line.strip("| ").split(" | ") for line in markdown if "--:" not in line]
    assert page(records)[1].rows == expected


def test_html_escapes_text_and_asks_for_nothing_from_elsewhere():
    text, parsed = page([run("KD", encoder=HOSTILE, model=HOSTILE, command=HOSTILE, split=HOSTILE)])
    assert parsed.rows[1][2] == HOSTILE
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
    assert [head["scope"] for head in heads] == ["col"] * 12 + ["row"] * 2
    values = [
        attributes["data-value"] for tag, attributes in parsed.tags if "data-value" in attributes
    ]
    first, second = values[:12], values[12:]
    assert first[:4] == ["1", "KD", "", "0.8"] and float(first[7]) == pytest.approx(0.1)
    assert second[4] == second[7] == second[8] == ""


def test_html_bars_start_in_the_middle_when_a_method_loses():
    styles = [
        attributes["style"]
        for tag, attributes in page([run(), run("KD", auc=0.8), run("raw_seq", auc=0.65)])[1].tags
        if tag == "i"
    ]
    assert styles == ["left:50.0%;width:50.0%", "left:25.0%;width:25.0%"]
    (alone,) = [a["style"] for tag, a in page([run(), run("KD", auc=0.8)])[1].tags if tag == "i"]
    assert alone == "left:0.0%;width:100.0%"
