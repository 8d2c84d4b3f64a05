"""Published tuner files: FuxiCTR enumerates them, and the points are the published runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.folders import read_yaml
from fuxictr_loopfm.config.key_rules import read_keys
from fuxictr_loopfm.evidence.methods import FORMER_METHODS, METHODS
from fuxictr_loopfm.evidence.publish.publish import committed, datasets
from fuxictr_loopfm.evidence.publish.tuner import tuner_text
from fuxictr_loopfm.host.tuner import enumerated as enumerate_tuner
from fuxictr_loopfm.records.record import RunRecord

CHECKOUT = Checkout.find()
# Of a run's own, or changing nothing in a run without a history.
NAMES = {"model_id", "dataset_id", "teacher_fingerprint"}
GROUPS: dict[tuple[str, str, bool], list[RunRecord]] = {}
for _dataset in datasets(CHECKOUT):
    for _run in committed(CHECKOUT, _dataset).records:
        if _run.method in {**METHODS, **FORMER_METHODS}:
            GROUPS.setdefault((_dataset, _run.model, _run.paper_table is not None), []).append(_run)


def key(config: dict, names: set[str]) -> str:
    return json.dumps({name: config.get(name) for name in names}, sort_keys=True)


def enumerated(path: Path) -> list[dict]:
    folder = enumerate_tuner(path)
    models, data = (read_yaml(folder / f"{kind}_config.yaml") for kind in ("model", "dataset"))
    return [{**params, **data[params["dataset_id"]]} for params in models.values()]


@pytest.mark.parametrize(
    "group", GROUPS, ids=lambda g: f"{g[1]}-{g[0]}-{'paper' if g[2] else 'board'}"
)
def test_the_grid_holds_every_row_that_its_file_names(group, tmp_path):
    dataset_id, model, paper = group
    runs = GROUPS[group]
    entry = f"{model.partition(':')[0]}_{dataset_id}"
    both = paper and (dataset_id, model, False) in GROUPS
    parts = [entry, model.partition(":")[2], "paper" if both else "", "tuner_config.yaml"]
    folder = shutil.copytree(CHECKOUT.configs(dataset_id) / entry, tmp_path / entry)
    file = folder / "_".join(filter(None, parts))
    first_line = file.read_text(encoding="utf-8").partition("\n")[0]
    named = first_line.rpartition(": ")[2].removesuffix(".").split(", ")
    runs = [run for run in runs if run.method in named]
    assert runs
    points = enumerated(file)
    for params in points:
        read_keys(params, "a point")
        teacher = CHECKOUT.base_dir("any") / params["loopfm_teacher_config"]
        assert (teacher.resolve() / "model_config.yaml").is_file()
    grids: dict[frozenset[str], set[str]] = {}
    for run in runs:
        names = set(run.config) - NAMES
        if run.config["loopfm_history"] is None:
            # What describes a history is not read without one.
            names = {n for n in names if not n.startswith("loopfm_")} | {"loopfm_kd"}
            names |= {"loopfm_history", "loopfm_teacher"}
        if frozenset(names) not in grids:
            grids[frozenset(names)] = {key(params, names) for params in points}
        assert key(run.config, names) in grids[frozenset(names)]


def test_rows_that_are_no_method_of_the_leaderboard_have_no_tuner_file():
    group = next(runs for (_, _, paper), runs in GROUPS.items() if paper)
    assert tuner_text("a.yaml", "X_base", {}, []) is None
    text = tuner_text("a.yaml", "X_base", {}, [group[0]])
    assert text is not None and "1 settings x 1 seeds" in text
