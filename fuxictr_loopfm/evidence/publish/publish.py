"""Writes what is committed of finished runs; every published text follows from their records.

``benchmark_configs/<dataset>/<Model>_<dataset>/records.jsonl`` holds each published run once, that
of all the model's variants, for the leaderboard and for the paper's tables. All other texts are
rendered from these files again, so a number that was changed by hand is found by ``outdated``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.folders import load_params
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.benchmark.configs import folder_name
from fuxictr_loopfm.evidence.benchmark.results import RECORDS as PREDICTIONS
from fuxictr_loopfm.evidence.leaderboard.groups import group_runs
from fuxictr_loopfm.evidence.leaderboard.render import leaderboard_texts, render_table
from fuxictr_loopfm.evidence.methods import BASE
from fuxictr_loopfm.evidence.paper.ratio import joined_ratios
from fuxictr_loopfm.evidence.paper.table import PaperTable
from fuxictr_loopfm.evidence.publish.configs import missing_configuration, missing_teachers
from fuxictr_loopfm.evidence.publish.entry import Entry, environment_text, readme_text, runs_csv
from fuxictr_loopfm.evidence.publish.tables import (
    computed_ratios,
    filled_tables,
    load_tables,
    table_texts,
)
from fuxictr_loopfm.evidence.publish.tuner import tuner_text
from fuxictr_loopfm.files.atomic import write_text
from fuxictr_loopfm.records.comparison import (
    Comparison,
    arm_mark,
    comparisons_text,
    read_comparisons,
)
from fuxictr_loopfm.records.packing import packed
from fuxictr_loopfm.records.record import COMPARISONS, RunRecord, read_records

RECORDS = "records.jsonl"
_MARKED = re.compile(
    r"(<!-- leaderboard (\S+) (\S+) -->\n).*?(<!-- /leaderboard -->)", flags=re.DOTALL
)


@dataclass(frozen=True)
class Source:
    """What there is to be published of one data set.

    Attributes:
        records: all runs at hand; those that no page shows are left out.
        definitions: the paper's tables by number.
        wanted: numbers of those that are published in any case.
        comparisons: differences between them, as recorded.
        ratios: text of the transfer ratios' JSON file by table.
    """

    dataset_id: str
    records: tuple[RunRecord, ...]
    definitions: Mapping[int, PaperTable]
    wanted: frozenset[int] = frozenset()
    ratios: Mapping[int, str] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()


def publish(
    checkout: Checkout, results: Sequence[Path], tables: Iterable[int] = ()
) -> dict[str, int]:
    """Write the published texts of every data set that has runs in ``results``.

    What is committed stays, unless ``results`` has runs of the same expid. Without results
    everything committed is written anew from its records.

    Args:
        checkout: whose ``benchmark_configs`` is written.
        results: output folders of ``loopfm benchmark`` and ``loopfm paper``, or record files.
        tables: the paper's tables to publish besides those that runs were made for.

    Returns:
        By data set, how many runs are shown on no page and so were left out.

    Raises:
        DataError: unreadable records, or a table that they do not fill.
        ConfigError: a model without a configuration, committed or in ``results``.
    """
    known = load_tables(checkout.configs("paper"))
    unknown = sorted(set(tables) - known.keys())
    if unknown:
        raise DataError(
            f"--tables: expected some of {sorted(known)}, found {unknown}. Choose among these."
        )
    given = {path: read_records([path]) for path in results}
    found = {run.dataset_id for runs in given.values() for run in runs}
    left_out = {}
    for dataset_id in sorted(found) if results else datasets(checkout):
        source = _merged(committed(checkout, dataset_id), given, tables)
        new = read_comparisons(results)
        source = replace(source, comparisons=(*source.comparisons, *new))
        kept, _ = _kept(source)
        entries = sorted({_entry_name(run) for run in kept})
        _write(missing_configuration(checkout, dataset_id, entries, results))
        _write(missing_teachers(checkout, dataset_id, kept, results))
        _write(rendered(checkout, source))
        left_out[dataset_id] = len(source.records) - len(kept)
    return left_out


def datasets(checkout: Checkout) -> list[str]:
    """Data sets with published runs."""
    found = (checkout.root / "benchmark_configs").glob(f"*/*/{RECORDS}")
    return sorted({path.parents[1].name for path in found})


def committed(checkout: Checkout, dataset_id: str) -> Source:
    """What is published of a data set already; without runs if there is nothing."""
    folder = checkout.configs(dataset_id)
    files = sorted(folder.glob(f"*/{RECORDS}"))
    wanted, ratios = set(), {}
    definitions = load_tables(checkout.configs("paper"))
    for number, table in definitions.items():
        if (folder / "paper" / f"{table.file_name}.md").is_file():
            wanted.add(number)
        path = folder / "paper" / table.ratio_file
        if path.is_file():
            ratios[number] = path.read_text(encoding="utf-8")
    records = tuple(read_records(files)) if files else ()
    comparisons = tuple(read_comparisons(files))
    return Source(dataset_id, records, definitions, frozenset(wanted), ratios, comparisons)


def rendered(checkout: Checkout, source: Source) -> dict[Path, str]:
    """Every published text of a data set by its path, the packed records included.

    Raises:
        DataError: records that do not belong together, or a wanted table that they do not fill.
        ConfigError: a model without a configuration folder.
    """
    folder = checkout.configs(source.dataset_id)
    kept, filled = _kept(source)
    tables = source.definitions
    board = sorted((run for run in kept if run.paper_table is None), key=_position)
    texts = leaderboard_texts(board, source.comparisons) if board else {}
    pages = {folder / name: text for name, text in texts.items()}
    for name, text in table_texts(tables, filled, source.ratios).items():
        pages[folder / "paper" / name] = text
    script = checkout.scripts().get(source.dataset_id)
    for name in sorted({_entry_name(run) for run in kept}):
        runs = sorted((run for run in kept if _entry_name(run) == name), key=_position)
        shown = {run.model for run in runs}
        tuners = _tuners(checkout, folder / name, runs)
        entry = Entry(
            name,
            tuple(runs),
            script.relative_to(checkout.root).as_posix() if script else "",
            tuple(tables[n] for n, found in filled.items() if shown & {r.model for r in found}),
            tuple(tuners),
            _between(runs, source.comparisons),
        )
        texts = {
            "README.md": readme_text(entry),
            f"{name}.csv": runs_csv(runs),
            RECORDS: packed([run.to_dict() for run in runs]),
            "environment.txt": environment_text(runs),
            **tuners,
        }
        if entry.comparisons:
            texts[COMPARISONS] = comparisons_text(entry.comparisons)
        pages |= {folder / name / file: text for file, text in texts.items()}
    return pages


def filled_document(checkout: Checkout, text: str) -> str:
    """``text`` with the tables between its ``<!-- leaderboard DATASET MODEL -->`` marks made anew.

    Args:
        checkout: whose committed records the tables are made from.
        text: of a Markdown document.

    Raises:
        DataError: marks that name a data set or model without published runs.
    """

    def table(match: re.Match[str]) -> str:
        opening, dataset_id, model, closing = match.groups()
        source = committed(checkout, dataset_id)
        runs = [run for run in source.records if run.paper_table is None]
        if not runs:
            raise DataError(
                f"{opening.strip()}: expected published runs of {dataset_id}, found none; "
                f"data sets: {datasets(checkout)}. Publish its runs first, or correct the mark."
            )
        return f"{opening}{render_table(runs, model, source.comparisons).strip()}\n{closing}"

    return _MARKED.sub(table, text)


def _filled(checkout: Checkout, path: Path) -> str:
    try:
        return filled_document(checkout, path.read_text(encoding="utf-8"))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def fill_documents(checkout: Checkout, documents: Iterable[Path]) -> None:
    """Make the marked tables of documents anew, see ``filled_document``."""
    for path in documents:
        write_text(path, _filled(checkout, path))


def outdated(checkout: Checkout, documents: Iterable[Path] = ()) -> list[Path]:
    """Published files, and documents with marked tables, that differ from what records give.

    Raises:
        DataError: as ``rendered`` and ``filled_document``.
        ConfigError: as ``rendered``.
    """
    pages: dict[Path, str] = {}
    for dataset_id in datasets(checkout):
        pages |= rendered(checkout, committed(checkout, dataset_id))
    for path in documents:
        pages[path] = _filled(checkout, path)
    found = []
    for path, text in pages.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            found.append(path)
    return found


def _write(pages: Mapping[Path, str]) -> None:
    for path, text in pages.items():
        write_text(path, text)


def _merged(
    old: Source, given: Mapping[Path, Sequence[RunRecord]], tables: Iterable[int]
) -> Source:
    """All seeds of an expid come from one side: a new run beside an old one is another setting."""
    new: dict[tuple[str, int], RunRecord] = {}
    ratios = dict(old.ratios)
    for path, records in given.items():
        own = [run for run in records if run.dataset_id == old.dataset_id]
        new |= {(run.expid, run.seed): run for run in own}
        for number, table in old.definitions.items():
            text = computed_ratios(table, own, path / PREDICTIONS)
            if text is not None:
                ratios[number] = joined_ratios(ratios.get(number, "[]"), text)
    replaced = {run.expid for run in new.values()}
    kept = [run for run in old.records if run.expid not in replaced]
    return replace(
        old, records=(*kept, *new.values()), wanted=old.wanted | {*tables}, ratios=ratios
    )


def _kept(source: Source) -> tuple[list[RunRecord], dict[int, list[RunRecord]]]:
    """The runs that a page shows, and of these each table's."""
    filled = filled_tables(source.definitions, source.records, source.wanted)
    shown = {(run.expid, run.seed) for runs in filled.values() for run in runs}
    kept = [r for r in source.records if r.paper_table is None or (r.expid, r.seed) in shown]
    return kept, filled


def _between(
    runs: Sequence[RunRecord], comparisons: Iterable[Comparison]
) -> tuple[Comparison, ...]:
    """The comparisons of these runs' rows with each other, each once."""
    marks = {arm_mark(group.runs.values()) for group in group_runs(runs)}
    found = {(each.first, each.second): each for each in comparisons}
    return tuple(found[key] for key in sorted(found) if {*key} <= marks)


def _entry_name(run: RunRecord) -> str:
    return folder_name(run.model.partition(":")[0], run.dataset_id)


def _position(run: RunRecord) -> tuple[bool, str, str, int]:
    return run.paper_table is not None, run.model, run.expid, run.seed


def _tuners(checkout: Checkout, folder: Path, runs: Sequence[RunRecord]) -> dict[str, str]:
    """A tuner file per variant of a model; the paper's rows have one of their own beside ours."""
    groups: dict[tuple[str, bool], list[RunRecord]] = {}
    for run in runs:
        _, _, variant = run.model.partition(":")
        groups.setdefault((variant, run.paper_table is not None), []).append(run)
    expid = f"{folder.name}_{BASE}"
    params = load_params(folder, expid, checkout.base_dir(runs[0].model.partition(":")[0]))
    texts: dict[str, str] = {}
    for (variant, paper), group in groups.items():
        both = paper and (variant, False) in groups
        parts = [folder.name, variant, "paper" if both else "", "tuner_config.yaml"]
        name = "_".join(filter(None, parts))
        path = (folder / name).relative_to(checkout.root).as_posix()
        text = tuner_text(path, expid, params, group)
        texts |= {name: text} if text else {}
    return texts
