"""A leaderboard as one HTML page that needs no network: style and script are inside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from fuxictr_loopfm.evidence.leaderboard.context import Context
from fuxictr_loopfm.evidence.leaderboard.rows import Comparison, Row, ranks, sections
from fuxictr_loopfm.evidence.leaderboard.text import (
    EXPLANATION,
    HEADINGS,
    TEXT_COLUMNS,
    cells,
    context_items,
    group_title,
    title,
    warnings_of,
)
from fuxictr_loopfm.records.record import METRICS

_DIFFERENCES = tuple(n for n, heading in enumerate(HEADINGS) if heading.startswith("dAUC"))
# Width and height of an interval's picture, in pixels.
_WIDE, _HIGH = 96, 14
_FOLDED = frozenset({"Environment", "Commands"})

_STYLE = """
:root { color-scheme: light dark; --line: #d5dae1; --soft: #5b6675; --up: #2f6fdb; --down: #c2410c;
  --shade: #f4f6f9; --page: #ffffff; --text: #1a2230; }
@media (prefers-color-scheme: dark) { :root { --line: #343d4a; --soft: #9aa7b8; --up: #6ea8ff;
  --down: #ff9264; --shade: #1d242e; --page: #12171e; --text: #e6ebf2; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 2rem 1rem 4rem; background: var(--page);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h2 small { color: var(--soft); font-weight: normal; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr);
  gap: .25rem 1.2rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
dd ul { margin: 0; padding-left: 1.1rem; }
summary { cursor: pointer; }
pre { overflow-x: auto; margin: .4rem 0; padding: .6rem .8rem; background: var(--shade); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 12.5px;
  font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .3rem; white-space: nowrap; text-align: right; vertical-align: top; }
thead th { white-space: normal; vertical-align: bottom; }
th.text, td.text { text-align: left; }
tbody tr { border-top: 1px solid var(--line); }
tbody tr:hover { background: var(--shade); }
thead { background: var(--shade); }
tbody th { font-weight: 600; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible, .scroll:focus-visible { outline: 2px solid var(--up); }
th button:hover { text-decoration: underline dotted; }
th[aria-sort=ascending] button::after { content: "\\2191"; color: var(--text); }
th[aria-sort=descending] button::after { content: "\\2193"; color: var(--text); }
td.difference { text-align: left; white-space: normal; min-width: 8.6rem; }
.whole { white-space: nowrap; }
td.metric { white-space: normal; min-width: 4.5rem; }
td.difference svg { display: block; }
td.reads { white-space: normal; min-width: 8rem; max-width: 16rem; }
tr.group th { text-align: left; padding-top: .9rem; color: var(--soft); background: var(--page);
  white-space: normal; }
tbody + tbody { border-top: 2px solid var(--line); }
svg line { stroke: var(--soft); }
svg .zero { stroke: var(--line); }
svg .up { stroke: var(--up); fill: var(--up); }
svg .down { stroke: var(--down); fill: var(--down); }
svg .none { stroke: var(--soft); fill: var(--soft); }
footer { margin-top: 2rem; color: var(--soft); max-width: 60rem; }
"""

_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const key = row => row.cells[column].dataset.value;
    const number = row => key(row) === "" ? NaN : Number(key(row));
    const text = head.classList.contains("text");
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const sign = ascending ? 1 : -1;
    const order = (a, b) => {
      if (text) return sign * key(a).localeCompare(key(b), "en", {numeric: true});
      const x = number(a), y = number(b);
      return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);
    };
    for (const body of table.tBodies)
      body.append(...[...body.rows].filter(row => row.cells.length > 1).sort(order));
  }));
}
"""


def to_html(rows: Sequence[Row], context: Context) -> str:
    """The whole page: note on how the numbers came about, one sortable table per model."""
    heading = escape(title(rows))
    notes = "\n".join(_note(name, values) for name, values in context_items(context))
    tables = "\n".join(
        _table(f"table-{number}", dataset_id, model, section)
        for number, ((dataset_id, model), section) in enumerate(sections(rows).items(), start=1)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{heading}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{heading}</h1>
<dl>
{notes}
</dl>
{tables}
</main>
<footer>{escape(EXPLANATION)}</footer>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _note(name: str, values: Sequence[str]) -> str:
    if name == "Commands":
        body = f"<pre>{escape(chr(10).join(values))}</pre>"
    elif len(values) == 1:
        body = escape(values[0])
    else:
        body = f"<ul>{''.join(f'<li>{escape(value)}</li>' for value in values)}</ul>"
    if name in _FOLDED and len(values) > 1:
        body = f"<details><summary>{len(values)} different</summary>{body}</details>"
    return f"<dt>{name}</dt><dd>{body}</dd>"


def _table(name: str, dataset_id: str, model: str, section: Sequence[Row]) -> str:
    heads = "".join(
        f'<th scope="col"{_alignment(heading)}{_first_order(heading)}>'
        f'<button type="button">{escape(heading)}</button></th>'
        for heading in HEADINGS
    )
    reach = _reach(section)
    place = ranks(section)
    bodies = []
    for _, members in groupby(zip(place, section, strict=True), key=lambda pair: pair[1].group):
        rows = list(members)
        lines = [_line(rank, row, reach) for rank, row in rows]
        head = (
            f'<th colspan="{len(HEADINGS)}" scope="rowgroup">{escape(group_title(rows[0][1]))}</th>'
        )
        bodies.append("\n".join(["<tbody>", f'<tr class="group">{head}</tr>', *lines, "</tbody>"]))
    joined = "\n".join(bodies)
    warnings = "".join(f"\n<p>{escape(text)}</p>" for text in warnings_of(section))
    return f"""<h2 id="{name}">{escape(model)} <small>{escape(dataset_id)}</small></h2>
<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}">
<table aria-labelledby="{name}">
<thead><tr>{heads}</tr></thead>
{joined}
</table>
</div>{warnings}"""


def _line(rank: int, row: Row, reach: float) -> str:
    parts = []
    compared = dict(zip(_DIFFERENCES, (row.against_base, row.against_above), strict=True))
    texts = zip(HEADINGS, cells(rank, row), _sort_values(rank, row), strict=True)
    for index, (heading, text, value) in enumerate(texts):
        tag, scope = ("th", ' scope="row"') if heading == "Method" else ("td", "")
        found = compared.get(index)
        picture = _interval(found, reach) if found is not None and reach else ""
        parts.append(
            f'<{tag}{scope}{_class(heading)} data-value="{escape(value)}">'
            f"{picture}{_marked_up(text)}</{tag}>"
        )
    return f"<tr>{''.join(parts)}</tr>"


def _reach(section: Sequence[Row]) -> float:
    """The largest distance from 0 that a picture of the table has to show."""
    found = [each for row in section for each in (row.against_base, row.against_above) if each]
    ends = [abs(each.difference) for each in found]
    ends += [abs(end) for each in found if each.interval for end in each.interval[1:]]
    return max(ends, default=0.0)


def _sort_values(rank: int, row: Row) -> list[str]:
    compared, other = row.against_base, row.against_above
    values = [
        *(row.mean[name] for name in METRICS),
        compared.difference if compared else None,
        compared.p if compared else None,
        other.difference if other else None,
        row.params,
        row.bytes_per_event,
        row.train_seconds,
    ]
    numbers = ["" if value is None else repr(value) for value in values]
    return [str(rank), row.method, row.encoder, row.reads, *numbers]


def _interval(compared: Comparison, reach: float) -> str:
    """A picture: zero as a vertical line, the difference as a dot, its interval as a bar.

    Args:
        compared: what to draw.
        reach: what half of the width stands for.
    """

    def x(value: float) -> str:
        return f"{_WIDE / 2 + value / reach * (_WIDE / 2 - 4):.1f}"

    kind = "none" if compared.holds_zero else "up" if compared.difference > 0 else "down"
    middle = _HIGH // 2
    bar = ""
    if compared.interval is not None:
        low, high = x(compared.interval.low), x(compared.interval.high)
        bar = f'<line class="{kind}" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
    return (
        f'<svg width="{_WIDE}" height="{_HIGH}" aria-hidden="true">'
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="0" y2="{_HIGH}"/>{bar}'
        f'<circle class="{kind}" cx="{x(compared.difference)}" cy="{middle}" r="3"/></svg>'
    )


def _marked_up(text: str) -> str:
    """A cell's text, whose interval is not broken over two lines."""
    head, bracket, rest = text.partition("[")
    inside, closing, after = rest.partition("]")
    if not closing:
        return escape(text)
    whole = escape(bracket + inside + closing)
    return f'{escape(head)}<span class="whole">{whole}</span>{escape(after)}'


def _class(heading: str) -> str:
    if heading == "Reads":
        return ' class="text reads"'
    if heading.startswith("dAUC"):
        return ' class="difference"'
    if heading in ("AUC", "gAUC", "Logloss", "NE", "p over seeds"):
        return ' class="metric"'
    return _alignment(heading)


def _alignment(heading: str) -> str:
    return ' class="text"' if heading in TEXT_COLUMNS else ""


def _first_order(heading: str) -> str:
    return ' aria-sort="ascending"' if heading == "Rank" else ""
