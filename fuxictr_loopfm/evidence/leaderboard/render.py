"""Leaderboards as CSV, Markdown and plain text, in the layout of BARS."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.leaderboard.context import Context, describe
from fuxictr_loopfm.evidence.leaderboard.html import to_html
from fuxictr_loopfm.evidence.leaderboard.rows import COLUMNS, Row, sections, summarise
from fuxictr_loopfm.evidence.leaderboard.text import (
    EXPLANATION,
    HEADINGS,
    TEXT_COLUMNS,
    cells,
    context_items,
    title,
)
from fuxictr_loopfm.files import atomic
from fuxictr_loopfm.records.record import METRICS, RunRecord


def write_leaderboard(records: Sequence[RunRecord], out_folder: Path | str) -> None:
    """Write ``leaderboard.csv``, ``.md`` and ``.html`` of ``records`` into ``out_folder``.

    Each file appears whole or not at all; all three are rendered before the first is written.

    Raises:
        DataError: the records do not belong into one leaderboard, see ``summarise``.
    """
    rows, context = summarise(records), describe(records)
    texts = {
        "csv": to_csv(rows),
        "md": to_markdown(rows, context),
        "html": to_html(rows, context),
    }
    for suffix, text in texts.items():
        atomic.write_text(Path(out_folder) / f"leaderboard.{suffix}", text)


def render_table(records: Sequence[RunRecord], model: str) -> str:
    """The Markdown table of one model, to be embedded in another document.

    Raises:
        DataError: no such model among the records, or the model on several data sets.
    """
    found = [section for key, section in sections(summarise(records)).items() if key[1] == model]
    if len(found) != 1:
        names = ", ".join(sorted({f"{run.model} on {run.dataset_id}" for run in records}))
        raise DataError(
            f"leaderboard, model {model}: expected records of it on one data set, found {names}"
        )
    return to_markdown_table(found[0])


def to_csv(rows: Iterable[Row]) -> str:
    """One line per row under the header ``COLUMNS``; an empty field where there is no value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        numbers = [value for name in METRICS for value in (row.mean[name], row.std[name])]
        writer.writerow(
            [row.dataset_id, row.model, row.method, row.encoder, len(row.seeds)]
            + ["" if value is None else f"{value:.6f}" for value in numbers]
            + [row.params, f"{row.bytes_per_event:g}", f"{row.train_seconds:.2f}"]
        )
    return stream.getvalue()


def to_markdown(rows: Sequence[Row], context: Context) -> str:
    """A page: title, note on how the numbers came about, one ranked table per model."""
    lines = [f"# {_escaped(title(rows))}", ""]
    for name, values in context_items(context):
        if name == "Commands":
            lines += [">", "> Commands:", ">", *_code_block(values)]
        elif len(values) == 1:
            lines.append(f"> {name}: {_escaped(values[0])}  ")
        else:
            lines += [f"> {name}:", ">", *(f"> - {_escaped(value)}" for value in values), ">"]
    dataset_shown = None
    for (dataset_id, model), section in sections(rows).items():
        if dataset_id != dataset_shown:
            lines += ["", f"## {_escaped(dataset_id)}"]
            dataset_shown = dataset_id
        lines += ["", f"### {_escaped(model)}", "", to_markdown_table(section).rstrip("\n")]
    return "\n".join([*lines, "", EXPLANATION, ""])


def to_markdown_table(rows: Iterable[Row]) -> str:
    """A ranked table of the rows of one model on one data set, by AUC descending."""
    marks = [":--" if heading in TEXT_COLUMNS else "--:" for heading in HEADINGS]
    lines = [_line(HEADINGS), _line(marks)]
    for section in sections(rows).values():
        for rank, row in enumerate(section, start=1):
            lines.append(_line([_escaped(cell) for cell in cells(rank, row)]))
    return "\n".join(lines) + "\n"


def to_terminal(rows: Iterable[Row]) -> str:
    """Aligned plain text, one table per model."""
    blocks = []
    for (dataset_id, model), section in sections(rows).items():
        table = [list(HEADINGS)]
        table += [cells(rank, row) for rank, row in enumerate(section, start=1)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = []
        for texts in table:
            aligned = [
                text.ljust(width) if heading in TEXT_COLUMNS else text.rjust(width)
                for heading, text, width in zip(HEADINGS, texts, widths, strict=True)
            ]
            lines.append("  ".join(aligned).rstrip())
        rule = "-" * max(map(len, lines))
        blocks.append("\n".join([f"{dataset_id}  {model}", rule, lines[0], rule, *lines[1:]]))
    return "\n\n".join(blocks) + "\n"


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _escaped(text: str) -> str:
    """``text`` as literal Markdown on one line, safe within a table."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\|*`\[\]~])", r"\\\1", text)
    # An underscore within a word is literal in Markdown and better left readable.
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def _code_block(commands: Iterable[str]) -> list[str]:
    lines = [line for command in commands for line in command.splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"> {line}" for line in (fence, *lines, fence)]
