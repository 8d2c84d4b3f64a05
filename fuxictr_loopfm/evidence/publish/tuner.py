"""Writes FuxiCTR tuner files that repeat published rows, from the rows' records."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from fuxictr_loopfm.config.keys import default_values
from fuxictr_loopfm.config.names import PREFIX
from fuxictr_loopfm.evidence.methods import FORMER_METHODS, METHODS, VERTICAL_METHODS
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.records.record import RunRecord

# What a method is made of, and what differs between runs of one row or names them.
AXES = ("loopfm_kd", "loopfm_history")
_KNOWN = {**{name: METHODS[name] for name in VERTICAL_METHODS}, **FORMER_METHODS}
_NAMES = frozenset({*AXES, "seed", "model_id", "dataset_id", "model"})


def tuner_text(
    file_name: str, base_expid: str, params: Mapping[str, Any], records: Sequence[RunRecord]
) -> str | None:
    """A FuxiCTR tuner file whose grid holds every row of ``records`` that a grid can hold.

    These are the rows of the leaderboard's methods, which two keys tell apart. A row that changes
    something else too, such as its epochs, would multiply the grid: it is left out.

    Args:
        file_name: of the tuner file, from the checkout's root.
        base_expid: experiment in the configuration folder beside the file.
        params: its FuxiCTR params.
        records: of one model and one origin (leaderboard or paper).

    Returns:
        The text, None if no record is of such a row.
    """
    order = [name for name, method in _KNOWN.items() if {*method.keys} <= {*AXES}]
    view = params.get("dataset_id")
    runs = [
        run
        for run in records
        if run.method in order and view in (None, run.config.get("dataset_id"))
    ]
    if not runs:
        return None
    runs = _of_one_grid(runs)
    runs.sort(key=lambda run: (order.index(run.method), run.seed))
    axes = {name: _distinct([run.config.get(name) for run in runs]) for name in AXES}
    seeds = sorted({run.seed for run in runs})
    rows = list(dict.fromkeys(run.method for run in runs))
    points = set(itertools.product(*axes.values()))
    others = len(points - {tuple(run.config.get(name) for name in AXES) for run in runs})
    lines = [
        f"# {runs[0].model} on {runs[0].dataset_id}: {', '.join(rows)}.",
        f"# {len(points)} settings x {len(seeds)} seeds; {_remark(others)}",
        "# Run: python model_zoo/run_param_tuner.py --gpu -1 -1 --config",
        f"#      {file_name}",
    ]
    head = {"base_config": ".", "base_expid": base_expid, "dataset_id": runs[0].dataset_id}
    space = {**axes, **{name: [value] for name, value in _fixed(runs, params)}, "seed": seeds}
    body = yaml.safe_dump(
        {**head, "tuner_space": space}, sort_keys=False, default_flow_style=None, indent=4, width=98
    )
    return "\n".join([*lines, "", body])


def _of_one_grid(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that agree with the most in all that the grid has one value of.

    What describes a history, or weighs a loss beside it, decides among runs with a history alone.
    """
    alike = _most_alike(runs, lambda name: not name.startswith(PREFIX))
    reading = [run for run in alike if run.config.get("loopfm_history") is not None]
    kept = _most_alike(reading, lambda name: True) if reading else []
    return [run for run in alike if run not in reading] + kept


def _most_alike(runs: Sequence[RunRecord], counts: Callable[[str], bool]) -> list[RunRecord]:
    """The largest set of runs that agree in the params that count."""
    settings: dict[str, list[RunRecord]] = {}
    for run in runs:
        names = [name for name in run.config if name not in _NAMES and counts(name)]
        key = fingerprint({name: run.config[name] for name in names})
        settings.setdefault(key, []).append(run)
    return max(settings.values(), key=len)


def _remark(others: int) -> str:
    if not others:
        return "all of them are rows of the entry."
    return f"{others} of the settings {'are' if others > 1 else 'is'} no row of the entry."


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _fixed(runs: Sequence[RunRecord], params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Keys in which the rows agree with each other and not with the base experiment.

    Rows without a history do not read what describes one, so the others decide where there are any.
    """
    deciding = [run for run in runs if run.config.get("loopfm_history") is not None] or list(runs)
    first = deciding[0].config
    # A key that is younger than the runs had its default in them.
    usual = default_values()
    fixed = []
    for name in params:
        had = first[name] if name in first else usual.get(name)
        # Without a default, as all paths are: runs do not note them.
        if name in _NAMES or (name not in first and had is None):
            continue
        # Compared as JSON: a tuple and a list of the same values are one setting.
        value = fingerprint(had)
        same = all(fingerprint(run.config.get(name, had)) == value for run in deciding)
        if same and value != fingerprint(params[name]):
            fixed.append((name, had))
    return fixed
