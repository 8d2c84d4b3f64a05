"""The bench's report: machine, versions and logs in front, one line per figure."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from fuxictr_loopfm.files.atomic import atomic_path, write_json
from fuxictr_loopfm.records.environment import collect_environment, utc_now
from tests.bench.logs import MIX, EventLog
from tests.bench.rows import Row
from tests.bench.settings import Settings

PACKAGES = ("numpy", "torch", "fuxictr", "polars", "pyarrow", "h5py", "scipy")
COLUMNS = ("What", "Against", "On", "Ours", "Peer", "Unit", "Ratio", "Reach", "Reached")


def describe(settings: Settings, sections: Sequence[str]) -> dict[str, Any]:
    """Machine, versions, seeds and logs of a run."""
    logs: list[EventLog] = [settings.main_log]
    if settings.real_log is not None:
        logs.append(settings.real_log)
    found = collect_environment()
    return {
        "measured": utc_now(),
        "machine": {
            "cpu": found["cpu"],
            "cores": found["cores"],
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": f"{platform.system()} {platform.release()}",
            "load_average": list(os.getloadavg()),
            "torch_threads": torch.get_num_threads(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
            "commit": found["git_commit"],
        },
        "seed": settings.seed,
        "scale_millions": settings.scale,
        "repetitions": settings.repetitions,
        "sections": list(sections),
        "mix": MIX,
        "logs": [log.statistics() for log in logs],
    }


def write(out: Path, run: dict[str, Any], rows: Sequence[Row]) -> str:
    """Write ``bench.json`` and ``bench.md`` into ``out``; returns the latter's text."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "bench.json", {**run, "rows": [row.to_dict() for row in rows]})
    text = to_markdown(run, rows)
    with atomic_path(out / "bench.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def to_markdown(run: dict[str, Any], rows: Sequence[Row]) -> str:
    """The whole report."""
    machine = run["machine"]
    versions = ", ".join(f"{name} {value}" for name, value in run["versions"].items() if value)
    load = ", ".join(f"{value:.2f}" for value in machine["load_average"])
    lines = [
        "# Bench",
        "",
        "Written by `make bench`. Ours and the peer take turns in one process; every figure is the "
        "median of its repetitions, after one run of each that is not counted where that is cheap. "
        "Only ratios carry over to other machines.",
        "",
        f"- Machine: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; load average at the "
        f"start {load}; torch threads {machine['torch_threads']}.",
        f"- Versions: {versions}.",
        f"- Measured {run['measured']}, seed {run['seed']}, up to {run['scale_millions']:g} "
        f"million events, {run['repetitions']} repetitions unless a note says otherwise.",
        f"- Synthetic logs: {run['mix']}.",
        "",
        *_table(
            ["Log", "Events", "Users", "Events in ties", "Mean length", "Median", "Full", "Empty"],
            [
                [
                    log["log"], f"{log['events']:,}", f"{log['users']:,}", f"{log['tied']:.1%}",
                    f"{log['mean length']:.1f}", f"{log['median length']:.0f}",
                    f"{log['full']:.1%}", f"{log['empty']:.1%}",
                ]
                for log in run["logs"]
            ],
        ),
        "",
        *table_lines(rows),
        "",
        *_notes(rows),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def table_lines(rows: Sequence[Row]) -> list[str]:
    """The rows as a markdown table; notes by number."""
    numbers = _numbered(rows)
    return _table(list(COLUMNS), [_cells(row, numbers[row.note]) for row in rows])


def _numbered(rows: Sequence[Row]) -> dict[str, str]:
    notes = dict.fromkeys(row.note for row in rows if row.note)
    return {"": ""} | {note: f" [{number}]" for number, note in enumerate(notes, start=1)}


def _notes(rows: Sequence[Row]) -> list[str]:
    return [
        f"{number.strip()} {note[0].upper()}{note[1:]}."
        + ("" if position == len(_numbered(rows)) - 1 else "\n")
        for position, (note, number) in enumerate(_numbered(rows).items())
        if note
    ]


def _cells(row: Row, number: str) -> list[str]:
    if row.ratio is None:
        return [row.what, row.against, row.data, "", "", "", "not measured" + number, "", ""]
    sign = "" if row.reach is None else ("at least " if row.better == "higher" else "at most ")
    return [
        row.what + number,
        row.against,
        row.data,
        "" if row.ours is None else _number(row.ours),
        "" if row.peer is None else _number(row.peer),
        row.unit,
        _number(row.ratio),
        "" if row.reach is None else f"{sign}{row.reach:g}",
        {True: "yes", False: "**no**", None: ""}[row.is_reached],
    ]


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    numeric = {"Ours", "Peer", "Ratio", "Reach", "Events", "Users", "Events in ties", "Full",
               "Mean length", "Median", "Empty"}  # fmt: skip
    rule = ["--:" if name in numeric else ":--" for name in head]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
