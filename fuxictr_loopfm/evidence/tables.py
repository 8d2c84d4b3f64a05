"""Tables of texts as aligned columns, Markdown and CSV, and the Markdown that stands around them.

A table has headings, some of which are in ``text_columns`` and aligned to the left, and rows. A row
is a sequence of cells, or one text: the name of the group of rows below it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

Row = Sequence[str] | str


def aligned(rows: Sequence[Sequence[str]], left: Sequence[bool]) -> list[str]:
    """Lines of cells under each other, two blanks apart.

    Args:
        rows: at least one, all of the same number of cells.
        left: for each column, whether it is aligned to the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, left, strict=True)
        texts = [cell.ljust(width) if flush else cell.rjust(width) for cell, width, flush in cells]
        lines.append("  ".join(texts).rstrip())
    return lines


def terminal_table(
    title: str, headings: Sequence[str], body: Sequence[Row], text_columns: Collection[str]
) -> str:
    """Plain text: the title, the headings between rules, then the rows; groups in brackets."""
    rows = [headings, *(row for row in body if not isinstance(row, str))]
    head, *lines = aligned(rows, [heading in text_columns for heading in headings])
    left = iter(lines)
    shown = [f"[{row}]" if isinstance(row, str) else next(left) for row in body]
    rule = "-" * max(map(len, [head, *shown]))
    return "\n".join([title, rule, head, rule, *shown])


def markdown_table(
    headings: Sequence[str], body: Iterable[Row], text_columns: Collection[str]
) -> str:
    """A Markdown table whose cells show their texts literally; groups are bold."""
    marks = [":--" if heading in text_columns else "--:" for heading in headings]
    lines = [_markdown_line(headings), _markdown_line(marks)]
    for row in body:
        if isinstance(row, str):
            lines.append(_markdown_line([f"**{literal(row)}**", *[""] * (len(headings) - 1)]))
        else:
            lines.append(_markdown_line([literal(cell) for cell in row]))
    return "\n".join(lines)


def _markdown_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def literal(text: str) -> str:
    """``text`` as literal Markdown on one line, safe within a table."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\|*`\[\]~])", r"\\\1", text)
    # An underscore within a word is literal in Markdown and better left readable.
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def quoted_fact(name: str, values: Sequence[str]) -> list[str]:
    """Lines of a Markdown quote that say ``name: value``, with a list of several values."""
    if len(values) == 1:
        return [f"> {name}: {literal(values[0])}  "]
    return [f"> {name}:", ">", *(f"> - {literal(value)}" for value in values), ">"]


def code_block(commands: Iterable[str]) -> list[str]:
    """Lines of a Markdown code block that no line of a command can end."""
    lines = [line for command in commands for line in command.splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *lines, fence]


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV with a header; an empty field for None, six decimals for a float."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{cell:.6f}" if isinstance(cell, float) else cell for cell in row])
    return stream.getvalue()
