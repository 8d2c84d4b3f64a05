"""Leaderboards as CSV, Markdown and plain text, in the layout of BARS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.leaderboard.context import Context, describe
from fuxictr_loopfm.evidence.leaderboard.html import to_html
from fuxictr_loopfm.evidence.leaderboard.rows import COLUMNS, Row, ranks, sections, summarise
from fuxictr_loopfm.evidence.leaderboard.rows import Comparison as Compared
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
from fuxictr_loopfm.evidence.tables import Row as TableRow
from fuxictr_loopfm.evidence.tables import (
    code_block,
    csv_text,
    literal,
    markdown_table,
    quoted_fact,
    terminal_table,
)
from fuxictr_loopfm.files import atomic
from fuxictr_loopfm.records.comparison import Comparison
from fuxictr_loopfm.records.record import METRICS, RunRecord


def leaderboard_texts(
    records: Sequence[RunRecord], comparisons: Sequence[Comparison] = ()
) -> dict[str, str]:
    """The three texts of a leaderboard by file name.

    Args:
        records: of the runs.
        comparisons: their recorded differences, without which intervals are left out.

    Raises:
        DataError: the records do not belong into one leaderboard, see ``summarise``.
    """
    rows, context = summarise(records, comparisons), describe(records)
    return {
        "leaderboard.csv": to_csv(rows),
        "leaderboard.md": to_markdown(rows, context),
        "leaderboard.html": to_html(rows, context),
    }


def write_leaderboard(
    records: Sequence[RunRecord], out_folder: Path | str, comparisons: Sequence[Comparison] = ()
) -> None:
    """Write ``leaderboard_texts`` into a folder, each file whole or not at all.

    Raises:
        DataError: see ``leaderboard_texts``; nothing is written then.
    """
    for name, text in leaderboard_texts(records, comparisons).items():
        atomic.write_text(Path(out_folder) / name, text)


def render_table(
    records: Sequence[RunRecord], model: str, comparisons: Sequence[Comparison] = ()
) -> str:
    """The Markdown table of one model, to be embedded in another document.

    Raises:
        DataError: no such model among the records, or the model on several data sets.
    """
    rows = summarise(records, comparisons)
    found = [section for key, section in sections(rows).items() if key[1] == model]
    if len(found) != 1:
        names = ", ".join(sorted({f"{run.model} on {run.dataset_id}" for run in records}))
        raise DataError(
            f"leaderboard, model {model}: expected records of it on one data set, found {names}"
        )
    return to_markdown_table(found[0])


def to_csv(rows: Iterable[Row]) -> str:
    """One line per row under the header ``COLUMNS``; an empty field where there is no value."""
    return csv_text(
        COLUMNS,
        [
            [row.dataset_id, row.model, row.group, row.method, row.encoder, row.reads]
            + [len(row.seeds)]
            + [value for name in METRICS for value in (row.mean[name], row.std[name])]
            + [*_difference_values(row.against_base), *_difference_values(row.against_above)]
            + [row.against_above.other if row.against_above else None]
            + [row.params, f"{row.bytes_per_event:g}", f"{row.train_seconds:.2f}"]
            for row in rows
        ],
    )


def to_markdown(rows: Sequence[Row], context: Context) -> str:
    """A page: title, note on how the numbers came about, one ranked table per model."""
    lines = [f"# {literal(title(rows))}", ""]
    for name, values in context_items(context):
        if name == "Commands":
            lines += [">", "> Commands:", ">", *(f"> {line}" for line in code_block(values))]
        else:
            lines += quoted_fact(name, values)
    dataset_shown = None
    for (dataset_id, model), section in sections(rows).items():
        if dataset_id != dataset_shown:
            lines += ["", f"## {literal(dataset_id)}"]
            dataset_shown = dataset_id
        lines += ["", f"### {literal(model)}", "", to_markdown_table(section)]
    return "\n".join([*lines, "", EXPLANATION, ""])


def to_markdown_table(section: Sequence[Row]) -> str:
    """The table of one of the ``sections``, ranked, and what its records warn of."""
    table = markdown_table(HEADINGS, _ranked(section), TEXT_COLUMNS)
    return "\n\n".join([table, *map(literal, warnings_of(section))])


def to_terminal(rows: Iterable[Row]) -> str:
    """Aligned plain text, one table per model, with what its records warn of."""
    blocks = []
    for (dataset_id, model), section in sections(rows).items():
        head = f"{dataset_id}  {model}"
        table = terminal_table(head, HEADINGS, _ranked(section), TEXT_COLUMNS)
        blocks.append("\n".join([table, *warnings_of(section)]))
    return "\n\n".join(blocks) + "\n"


def _difference_values(compared: Compared | None) -> list[float | None]:
    if compared is None:
        return [None] * 3
    interval = compared.interval
    return [compared.difference, *((interval.low, interval.high) if interval else (None, None))]


def _ranked(section: Iterable[Row]) -> list[TableRow]:
    """The lines of a section: the title of each group, and its rows with their ranks by AUC."""
    rows = list(section)
    lines: list[TableRow] = []
    place = ranks(rows)
    for number, row in enumerate(rows):
        if number == 0 or row.group != rows[number - 1].group:
            lines.append(group_title(row))
        lines.append(cells(place[number], row))
    return lines
