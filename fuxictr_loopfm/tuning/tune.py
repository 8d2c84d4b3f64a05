"""Tuning a teacher: the form of the data without its test, the search, and what is written.

No step reads a test period: trials are run on a data set that does not hold it.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.files.atomic import locked, write_json, write_text
from fuxictr_loopfm.pipeline.preparation import prepare, whole_id
from fuxictr_loopfm.prepared.dataset import DatasetSpec, PreparedDataset
from fuxictr_loopfm.prepared.dev_form import without_test
from fuxictr_loopfm.tuning.search import Budget, Search
from fuxictr_loopfm.tuning.space import MODEL, SPACE, Point, Space, what_counts
from fuxictr_loopfm.tuning.trial import Trial, Trials, WriteConfig

DEFAULT_SPACE = "teacher_space.yaml"
TRAIL = "trail.csv"


def default_space(checkout: Checkout) -> Path:
    """The space that is searched unless another one is given."""
    return checkout.root / "benchmark_configs" / DEFAULT_SPACE


@dataclass(frozen=True)
class Choice:
    """What a search chose.

    Attributes:
        best: the best trial.
        trials: all of them, in order.
        space: what they were chosen from.
    """

    best: Trial
    trials: tuple[Trial, ...]
    space: Space

    @property
    def model(self) -> str:
        """The chosen model class."""
        return str(self.best.point[MODEL])

    @property
    def settings(self) -> Point:
        """The chosen params but for the model."""
        return {k: v for k, v in what_counts(self.best.point).items() if k != MODEL}

    def summary(self) -> list[str]:
        """What came out, for people."""
        by_period = ", ".join(f"{period}: {auc:.4f}" for period, auc in self.best.auc.items())
        first, minutes = self.trials[0], sum(trial.seconds for trial in self.trials) / 60
        failed = sum(bool(trial.problem) for trial in self.trials)
        lines = [
            f"{len(self.trials)} trials in {minutes:.1f} minutes"
            + (f", {failed} of them failed (see {TRAIL})" if failed else ""),
            f"best:  mean AUC {self.best.score:.4f} on the periods before the test ({by_period})",
            f"first: mean AUC {first.score:.4f}",
        ]
        return lines + [f"  {key}: {json.dumps(value)}" for key, value in self.settings.items()]

    def remarks(self) -> list[str]:
        """How it was chosen, for the head of a configuration file."""
        periods = ", ".join(self.best.auc)
        return [
            f"Chosen by `loopfm tune-teacher` among {len(self.trials)} trials ({TRAIL}): mean AUC",
            f"{self.best.score:.4f} on the periods {periods}, each before it was learned. The test",
            "period was not at hand.",
        ]


def search(
    checkout: Checkout,
    dev: PreparedDataset,
    space: Space,
    budget: Budget,
    out: Path,
    *,
    write: WriteConfig,
    seed: int = 2019,
    gpu: int = -1,
) -> Choice:
    """Search a space on a data set without its test periods.

    Args:
        checkout: whose models are trained.
        dev: the data set, see ``dev_form``.
        space: what may be chosen.
        budget: when the search ends at the latest.
        out: folder of the trials' records; a search that was stopped goes on from them.
        write: writes the configuration of a trial's teacher.
        seed: of all trainings.
        gpu: GPU index, -1 for the CPU.
    Raises:
        ConfigError: a wrong space, or no trial succeeded.
    """
    trials = Trials(checkout, dev, out, write, seed=seed, gpu=gpu)
    found = Search(space, lambda point: trials.run(point, space), budget)
    with locked(out / "trials"):
        best = found.best()
    return Choice(best, tuple(found.trials), space)


def dev_form(
    checkout: Checkout, dataset_id: str, data: Path | None, out: Path
) -> tuple[PreparedDataset, Path]:
    """The data set without its test period, and the folder where the whole one is prepared.

    Args:
        checkout: whose script prepares raw files.
        dataset_id: the whole data set.
        data: raw folder, or a folder that holds the prepared data set; None as for ``prepare``.
        out: where the form is written that is made of a prepared data set.
    Raises:
        ConfigError: unknown data set.
        DataError: another data set, or no period is left to choose on.
    """
    if data is None or not (data / "dataset.yaml").is_file():
        dev = prepare(checkout, dataset_id, data, drop_last_period=True)
        return dev, checkout.prepared(dataset_id)
    whole = PreparedDataset.load(data)
    if whole.spec.dataset_id != dataset_id:
        raise DataError(
            f"{data}/dataset.yaml: dataset_id: expected {dataset_id} (DATASET), found "
            f"{whole.spec.dataset_id}. Give that id, or another folder."
        )
    return dev_form_of(whole, out), data


def dev_form_of(whole: PreparedDataset, out: Path) -> PreparedDataset:
    """A prepared data set without its test period, written into ``out`` unless it is there."""
    folder, note = out / "dev", out / "dev.json"
    made_of = {"made_of": whole.fingerprint}
    with locked(folder):
        known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else None
        if known == made_of and (folder / "dataset.yaml").is_file():
            return PreparedDataset.load(folder)
        logging.info("Write %s without its test period", whole.spec.dataset_id)
        dev = without_test(whole, folder)
        write_json(note, made_of)
    return dev


def whole_spec(dev: PreparedDataset) -> DatasetSpec:
    """The description of the whole data set, as far as configurations need it."""
    return replace(dev.spec, dataset_id=whole_id(dev.spec.dataset_id))


def write_trail(folder: Path, choice: Choice, expid: str) -> None:
    """Write every trial into ``trail.csv``, and the space as a FuxiCTR tuner file, beside it."""
    keys = list(choice.space.values)
    periods = list(choice.best.auc)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", *keys, "mean_AUC", *(f"AUC_{p}" for p in periods), "seconds", "note"])
    for number, trial in enumerate(choice.trials, 1):
        table.writerow(_row(number, trial, keys, periods, trial is choice.best))
    write_text(folder / TRAIL, text.getvalue())
    tuner: Mapping[str, Any] = {
        "base_config": ".",
        "base_expid": expid,
        SPACE: {key: list(values) for key, values in choice.space.values.items()},
    }
    body = yaml.safe_dump(dict(tuner), sort_keys=False, default_flow_style=None, width=98)
    head = "# What was searched; the trials that were made of it are in trail.csv.\n"
    write_text(folder / f"{expid}_tuner_config.yaml", head + body)


def _row(
    number: int, trial: Trial, keys: Sequence[str], periods: Sequence[str], chosen: bool
) -> list[Any]:
    auc = [f"{trial.auc[period]:.6f}" if period in trial.auc else "" for period in periods]
    values = [json.dumps(trial.point[key]) for key in keys]
    note = trial.problem or ("chosen" if chosen else "")
    return [number, *values, f"{trial.score:.6f}", *auc, f"{trial.seconds:.1f}", note]
