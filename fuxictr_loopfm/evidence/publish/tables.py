"""Decides which tables of the paper a set of records fills, and renders them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.benchmark.runner import predictions_path
from fuxictr_loopfm.evidence.paper.ratio import pair_results, ratios_text, read_ratios
from fuxictr_loopfm.evidence.paper.render import to_markdown
from fuxictr_loopfm.evidence.paper.table import PaperTable, load_table, table_numbers
from fuxictr_loopfm.records.record import RunRecord


def load_tables(folder: Path) -> dict[int, PaperTable]:
    """All definitions in ``folder`` by number."""
    return {number: load_table(folder, number) for number in table_numbers(folder)}


def filled_tables(
    tables: Mapping[int, PaperTable], records: Sequence[RunRecord], wanted: Iterable[int]
) -> dict[int, list[RunRecord]]:
    """The records of each table to be published, in the table's order of models and rows.

    A table is published for the models that have a run of every row. Tables share runs, so some
    are filled by chance: an unasked table needs a run that was made for it, and so does a model
    that is none of the table's own.

    Args:
        tables: all definitions, by number.
        records: all runs at hand.
        wanted: numbers of tables that are published even if no run was made for them.

    Returns:
        By number of a filled table, at least one record.

    Raises:
        DataError: a wanted table has no model with a run of every row.
    """
    wanted = set(wanted)
    found = {}
    for number, table in tables.items():
        chosen = _records_of(table, records, number in wanted)
        if chosen:
            found[number] = chosen
    if wanted - found.keys():
        raise DataError(
            f"tables {sorted(wanted - found.keys())}: expected a model with a run of every row, "
            "found none; run them with `loopfm paper`"
        )
    return found


def table_texts(
    tables: Mapping[int, PaperTable],
    filled: Mapping[int, Sequence[RunRecord]],
    ratios: Mapping[int, str],
) -> dict[str, str]:
    """Published texts by file name: a page per table, and its transfer ratios as they were given.

    Args:
        tables: all definitions, by number.
        filled: see ``filled_tables``.
        ratios: by table the JSON text of its transfer ratios. They come from test predictions,
            which are not published, so they are kept as they are.
    """
    texts = {}
    for number, records in filled.items():
        table = tables[number]
        results = read_ratios(ratios[number]) if number in ratios else []
        texts[f"{table.file_name}.md"] = to_markdown(table, records, results)
        if results:
            texts[table.ratio_file] = ratios[number]
    return texts


def computed_ratios(table: PaperTable, records: Sequence[RunRecord], folder: Path) -> str | None:
    """The transfer ratios' JSON text, None where no test predictions of the runs are kept.

    Args:
        table: the definition.
        records: runs of one results folder.
        folder: of their predictions, see ``runner.predictions_path``.
    """
    # Other tables that share a row may have run more seeds of it, and keep no predictions.
    filled = _records_of(table, records, True)
    runs = [run for run in filled if predictions_path(folder, run).is_file()]
    if not table.transfer_ratio or not runs:
        return None
    return ratios_text(pair_results(table, runs, folder))


def _records_of(table: PaperTable, runs: Sequence[RunRecord], wanted: bool) -> list[RunRecord]:
    """The runs of every model that has all rows of a table; none if nothing asks for the table."""
    rows = [row.name for row in table.runs()]
    own = [vertical.name for vertical in table.vertical_models]
    by_model: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.paper_table is not None and run.method in rows:
            by_model.setdefault(run.model, []).append(run)
    complete, asked = {}, set()
    for model, found in by_model.items():
        if {run.method for run in found} == {*rows}:
            complete[model] = found
            if table.number in {run.paper_table for run in found}:
                asked.add(model)
    if not wanted and not asked:
        return []
    models = [model for model in own if model in complete] + sorted(asked - set(own))
    chosen: list[RunRecord] = []
    for model in models:
        chosen += complete[model]
    return sorted(chosen, key=lambda r: (models.index(r.model), rows.index(r.method), r.seed))
