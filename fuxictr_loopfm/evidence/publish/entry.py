"""Renders a model's entry in the manner of BARS: its page, and its runs with what they ran in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fuxictr_loopfm.data.columns import active_columns
from fuxictr_loopfm.evidence.leaderboard.context import describe
from fuxictr_loopfm.evidence.leaderboard.render import to_markdown_table
from fuxictr_loopfm.evidence.leaderboard.rows import sections, summarise
from fuxictr_loopfm.evidence.leaderboard.text import EXPLANATION
from fuxictr_loopfm.evidence.paper.table import PaperTable
from fuxictr_loopfm.evidence.tables import code_block, csv_text
from fuxictr_loopfm.records.comparison import Comparison
from fuxictr_loopfm.records.record import METRICS, RunRecord

RUN_COLUMNS = (
    "seed", "expid", "model", "method", "encoder", *METRICS, "params", "bytes_per_event",
    "train_seconds", "protocol", "started", "commit", "code", "data", "config",
)  # fmt: skip
MACHINE = ("cpu", "cores")
COMMIT = "git_commit"
# A code fingerprint has 64 digits; its start is what commits are usually told apart by.
_SHORT = 16


@dataclass(frozen=True)
class Entry:
    """A model on a data set.

    Attributes:
        name: of its folder, ``<Model>_<dataset>``.
        records: its published runs, all variants, leaderboard and paper.
        script: preparation script from the checkout's root, "" if there is none.
        tables: the published tables of the paper that show it.
        tuners: names of its tuner files.
        comparisons: differences between its rows, as recorded.
    """

    name: str
    records: tuple[RunRecord, ...]
    script: str
    tables: tuple[PaperTable, ...]
    tuners: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()


def runs_csv(records: Iterable[RunRecord]) -> str:
    """One line per run under ``RUN_COLUMNS``; an empty field where there is no value."""
    lines = []
    for run in records:
        lines.append(
            [run.seed, run.expid, run.model, run.method, run.encoder]
            + [run.metrics.get(name) for name in METRICS]
            + [run.params, f"{run.bytes_per_event:g}", f"{run.train_seconds:.2f}", run.protocol]
            + [run.started, run.environment.get(COMMIT, ""), run.fingerprints["code"][:_SHORT]]
            + [run.fingerprints["data"], run.fingerprints["config"]]
        )
    return csv_text(RUN_COLUMNS, lines)


def environment_text(records: Iterable[RunRecord]) -> str:
    """Versions, machine and commits, with the number of runs that had each."""
    counted: dict[str, Counter[str]] = {}
    for run in records:
        for name, value in run.environment.items():
            counted.setdefault(name, Counter())[str(value)] += 1
    # Versions in alphabetical order, then the machine, then the commits, which may be many.
    last = [name for name in (*MACHINE, COMMIT) if name in counted]
    order = [*sorted(counted.keys() - set(last)), *last]
    lines = ["# From the records of the runs: what they ran with, and how many of them."]
    for name in order:
        for value, count in sorted(counted[name].items()):
            lines.append(f"{name}: {value or 'unknown'} ({_runs(count)})")
    return "\n".join(lines) + "\n"


def readme_text(entry: Entry) -> str:
    """The page of an entry: what it ran in and on, how to repeat it, results and records."""
    first = entry.records[0]
    model = first.model.partition(":")[0]
    dataset_id = first.dataset_id
    parts = [
        f"# {model} on {dataset_id}",
        "Written by `loopfm publish` from `records.jsonl`; edit neither by hand.",
        "[Environment](#environment) · [Data set](#data-set) · [Repeating it](#repeating-it) · "
        "[Results](#results) · [Records](#records)",
        "## Environment",
        *_environment(entry),
        "## Data set",
        *_dataset(entry),
        "## Repeating it",
        *_repeating(entry),
        "## Results",
        *_results(entry),
        "## Records",
        *_files(entry),
    ]
    return "\n\n".join(parts) + "\n"


def _environment(entry: Entry) -> list[str]:
    lines = environment_text(entry.records).splitlines()[1:]
    codes = len({run.fingerprints["code"] for run in entry.records})
    states = "one state" if codes == 1 else f"{codes} states"
    return [
        _list(lines),
        f"The code of package and model had {states} in these runs, by its fingerprint; a commit "
        "that ends in `-dirty` had changes that were not committed. `pip install -c "
        "constraints.txt -e .` in a checkout of the commit installs the same versions.",
    ]


def _dataset(entry: Entry) -> list[str]:
    dataset_id = entry.records[0].dataset_id
    facts = [f"Protocol: {text}" for text in _distinct(run.protocol for run in entry.records)]
    facts += [f"Split: {text}" for text in _distinct(run.split for run in entry.records)]
    for columns in _distinct(run.config.get("feature_cols") for run in entry.records):
        names = [column["name"] for column in active_columns(columns, "feature_cols")]
        facts.append(f"Features of the model: {', '.join(names)}")
    facts += [
        f"Label: {value['name']}"
        for value in _distinct(run.config.get("label_col") for run in entry.records)
    ]
    prints = _distinct(run.fingerprints["data"] for run in entry.records)
    facts.append(f"Fingerprint of the prepared data: {', '.join(prints)}")
    if entry.script:
        source = (
            f"`{entry.script}` says at its head where the raw files come from, and makes the data "
            f"set of them (the commands below do so themselves):"
        )
        command = f"loopfm prepare --dataset {dataset_id} --data FOLDER_OF_RAW_FILES"
    else:
        source = "A log that is not public; one of your own is prepared with:"
        command = "python data_prep/custom.py --spec SPEC.yaml --out PREPARED_FOLDER"
    return [_list(facts), source, _code_text([command])]


def _repeating(entry: Entry) -> list[str]:
    counts = Counter(run.command for run in entry.records)
    commands = _distinct(run.command for run in sorted(entry.records, key=lambda r: r.started_at))
    parts = [
        "The runs come from these commands, oldest first. A run that two commands have in common "
        "was made by the first. What a command finds done it does not do again.",
        _code_text([f"{command}    # {_runs(counts[command])}" for command in commands]),
    ]
    if entry.tuners:
        sweeps = [
            "python model_zoo/run_param_tuner.py --gpu -1 -1 --config "
            f"benchmark_configs/{entry.records[0].dataset_id}/{entry.name}/{name}"
            for name in entry.tuners
        ]
        parts += ["The rows that a grid can hold, as FuxiCTR sweeps:", _code_text(sweeps)]
    return parts


def _results(entry: Entry) -> list[str]:
    parts = []
    leaderboard = [run for run in entry.records if run.paper_table is None]
    paper = [run for run in entry.records if run.paper_table is not None]
    if leaderboard:
        parts.append(
            "Defaults of this package, as in the [leaderboard](../leaderboard.md) of the data set:"
        )
        parts += _tables(leaderboard, entry.comparisons)
    if paper:
        links = ", ".join(
            f"[{table.number}](../paper/{table.file_name}.md)" for table in entry.tables
        )
        parts.append(f"Rows of the paper's tables ({links}), which compare them as the paper does:")
        parts += _tables(paper, entry.comparisons)
    return [*parts, EXPLANATION]


def _tables(records: Sequence[RunRecord], comparisons: Sequence[Comparison]) -> list[str]:
    parts = []
    for (_, model), rows in sections(summarise(records, comparisons)).items():
        parts += [f"**{model}**", to_markdown_table(rows)]
    notes = describe(records).notes
    return [*parts, *([_list(notes)] if notes else [])]


def _files(entry: Entry) -> list[str]:
    facts = [
        f"[records.jsonl](records.jsonl): the records of all {_runs(len(entry.records))} with "
        "configuration, seed, metrics and identity of data, code, teacher and store; what most "
        "runs share stands in its first line (`loopfm leaderboard records.jsonl` reads it)",
        *(
            ["[comparisons.jsonl](comparisons.jsonl): differences between rows, with intervals"]
            if entry.comparisons
            else []
        ),
        f"[{entry.name}.csv]({entry.name}.csv): one line per run",
        "[environment.txt](environment.txt): versions and machines",
        "[model_config.yaml](model_config.yaml), [dataset_config.yaml](dataset_config.yaml): "
        "the configuration that the runs start from",
        *(f"[{name}]({name}): a sweep" for name in entry.tuners),
    ]
    return [_list(facts)]


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Those that are not empty, each once, in the order of their first; lists are compared, too."""
    return list({repr(value): value for value in values if value}.values())


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {' '.join(item.split())}" for item in items)


def _code_text(lines: Iterable[str]) -> str:
    return "\n".join(code_block(lines))
