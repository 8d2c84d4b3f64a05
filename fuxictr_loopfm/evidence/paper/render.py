"""A table of the paper with our numbers beside it, as Markdown and plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.benchmark.results import RECORDS
from fuxictr_loopfm.evidence.leaderboard.context import describe
from fuxictr_loopfm.evidence.leaderboard.rows import summarise
from fuxictr_loopfm.evidence.leaderboard.text import HEADINGS as OUR_HEADINGS
from fuxictr_loopfm.evidence.leaderboard.text import NO_VALUE, cells, context_items
from fuxictr_loopfm.evidence.methods import BASE
from fuxictr_loopfm.evidence.paper.ratio import (
    RATIO_EXPLANATION,
    RATIO_HEADINGS,
    PairResult,
    pair_results,
    ratios_text,
    refusals,
)
from fuxictr_loopfm.evidence.paper.table import PaperTable, TableRow
from fuxictr_loopfm.evidence.tables import Row, literal, markdown_table, quoted_fact, terminal_table
from fuxictr_loopfm.files.atomic import write_text
from fuxictr_loopfm.records.record import RunRecord

HEADINGS = ("Row", "AUC", "dAUC", "p", "Logloss", "NE", "Paper AUC", "Paper dAUC", "Note")
TEXT_COLUMNS = frozenset({"Row", "Note", "Model", "Pair", "Kind"})
WIDTH = 100
_COMPARED = "compared"


def write_table(table: PaperTable, records: Sequence[RunRecord], out: Path) -> str:
    """Write ``table_<nn>.md`` and, if the table asks for them, the transfer ratios as JSON.

    Args:
        records: of one data set; rows without a record are shown as not run.
        out: the folder that ``run_table`` was given.
    Returns:
        The table as plain text for a terminal.
    Raises:
        DataError: no records, or records of several data sets, protocols or splits.
    """
    ratios = pair_results(table, records, out / RECORDS)
    write_text(out / f"{table.file_name}.md", to_markdown(table, records, ratios))
    if ratios:
        write_text(out / table.ratio_file, ratios_text(ratios))
    return to_terminal(table, records, ratios)


def table_lines(table: PaperTable, records: Sequence[RunRecord], model: str) -> list[Row]:
    """The rows of one vertical model, in the table's order: each group's name, then its rows."""
    runs = [record for record in records if record.model == model]
    lines: list[Row] = []
    group = ""
    for row in table.rows:
        if row.group != group:
            group = row.group
            lines.append(group)
        baseline = table.baseline_of(row)
        ours = _our_cells(runs, row, baseline)
        figure = row.figure(model)
        difference = paper_difference(table, row, model)
        auc = NO_VALUE if figure is None or figure.auc is None else f"{figure.auc:.4f}"
        if figure is not None and figure.auc_std is not None:
            auc = f"{auc.replace(NO_VALUE, '?')} ± {figure.auc_std:.4f}"
        note = _note(table, row, runs[0].dataset_id, figure is not None, bool(ours))
        texts = ours or [NO_VALUE] * 5
        paper = (auc, NO_VALUE if difference is None else f"{difference:+.4f}")
        lines.append([row.label or row.name, *texts, *paper, note])
    return lines


def paper_difference(table: PaperTable, row: TableRow, model: str) -> float | None:
    """The paper's difference of AUC to the row's baseline, None where it cannot be known."""
    figure, baseline = row.figure(model), table.baseline_of(row)
    if figure is None or baseline is None:
        return None
    if figure.d_auc is not None:
        return figure.d_auc
    other = baseline.figure(model)
    if other is None or figure.auc is None or other.auc is None:
        return None
    return figure.auc - other.auc


def to_markdown(
    table: PaperTable, records: Sequence[RunRecord], ratios: Sequence[PairResult] = ()
) -> str:
    """A page: what the paper did, what was run here, and one table per vertical model."""
    dataset_id = _dataset_id(records)
    lines = [
        f"# Table {table.number} of the paper: {table.title}",
        "",
        f"> Paper: arXiv:2605.29280, on {table.paper_dataset}  ",
        f"> Here: {dataset_id}  ",
    ]
    for name, values in context_items(describe(records)):
        lines += quoted_fact(name, values)
    for model in _models(records):
        body = table_lines(table, records, model)
        lines += ["", f"## {model}", "", markdown_table(HEADINGS, body, TEXT_COLUMNS)]
    lines += ["", _explanation(table)]
    if ratios:
        shown = [result.cells() for result in ratios]
        lines += ["", "## Transfer ratio", "", markdown_table(RATIO_HEADINGS, shown, TEXT_COLUMNS)]
        lines += ["", RATIO_EXPLANATION, *(f"\n{literal(text)}" for text in refusals(ratios))]
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes), ""])


def to_terminal(
    table: PaperTable, records: Sequence[RunRecord], ratios: Sequence[PairResult] = ()
) -> str:
    """Aligned plain text, one table per vertical model."""
    dataset_id = _dataset_id(records)
    blocks = [f"Table {table.number}: {table.title} (paper: {table.paper_dataset})"]
    for model in _models(records):
        body = table_lines(table, records, model)
        blocks.append(terminal_table(f"{dataset_id}  {model}", HEADINGS, body, TEXT_COLUMNS))
    if ratios:
        rows = [result.cells() for result in ratios]
        blocks.append(terminal_table("Transfer ratio", RATIO_HEADINGS, rows, TEXT_COLUMNS))
    notes = [_explanation(table), *([RATIO_EXPLANATION] if ratios else [])]
    notes += [*refusals(ratios), *table.notes]
    return "\n\n".join([*blocks, *(textwrap.fill(note, WIDTH) for note in notes)])


def _our_cells(
    runs: Sequence[RunRecord], row: TableRow, baseline: TableRow | None
) -> list[str] | None:
    """AUC, difference, p, log loss and NE; None without a run of the row."""
    own = [run for run in runs if run.method == row.name]
    if not own:
        return None
    other = [run for run in runs if baseline is not None and run.method == baseline.name]
    marked = [replace(run, method=BASE) for run in other]
    marked += [replace(run, method=_COMPARED) for run in own]
    found = next(one for one in summarise(marked) if one.method == _COMPARED)
    shown = dict(zip(OUR_HEADINGS, cells(1, found), strict=True))
    gain = found.against_base
    difference = NO_VALUE if gain is None else f"{gain.difference:+.4f}"
    return [shown["AUC"], difference, *(shown[name] for name in ("p over seeds", "Logloss", "NE"))]


def _note(table: PaperTable, row: TableRow, dataset_id: str, has_figure: bool, ran: bool) -> str:
    parts = [name for name in ("oracle", "control", "ours") if getattr(row, name)]
    if has_figure and not dataset_id.startswith(f"{table.paper_dataset}_"):
        parts.append(f"paper: {table.paper_dataset}")
    if row.baseline:
        parts.append(f"against {row.baseline}")
    return "; ".join([*parts, *filter(None, [row.note, "" if ran else "not run"])])


def _explanation(table: PaperTable) -> str:
    return (
        "Mean ± sample standard deviation over the seeds, on the test part. dAUC: mean difference "
        f"of AUC to the row {table.baseline!r} unless the note names another; p: two-sided paired "
        "t-test over the n seeds that both have. Lower is better for Logloss and NE. Paper dAUC: "
        "the same difference between the paper's figures. Notes: 'paper: X' - the paper's figure "
        "is from data set X and not to be compared in value; oracle - needs the teacher's output "
        "on the impression that is being served; control - should lose the gain; ours - no row "
        "of the paper."
    )


def _dataset_id(records: Sequence[RunRecord]) -> str:
    found = sorted({record.dataset_id for record in records})
    if len(found) != 1:
        raise DataError(f"a table of the paper: expected records of one data set, found {found}")
    return found[0]


def _models(records: Sequence[RunRecord]) -> list[str]:
    return list(dict.fromkeys(record.model for record in records))
