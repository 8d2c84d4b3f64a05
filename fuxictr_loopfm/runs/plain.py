"""FuxiCTR data sets without a prepared log: the ``bars`` protocol, without starting Ray.

Files, vocabularies and training are FuxiCTR's own: shuffled epochs with early stopping on the
validation file. There is no clock, so histories and distillation are refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_loopfm.config.early_checks import require_model
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.data.columns import ColumnPlan
from fuxictr_loopfm.data.dataloader import LoopFMDataLoader
from fuxictr_loopfm.data.plain import PlainPaths, build_plain, content_of
from fuxictr_loopfm.data.plain_labels import binary_labels
from fuxictr_loopfm.data.tables import read_column
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.host.loaders import loaders_by_split
from fuxictr_loopfm.host.model import count_parameters, new_model, read_feature_map
from fuxictr_loopfm.host.model_failures import explained_failures
from fuxictr_loopfm.host.trainer import evaluate
from fuxictr_loopfm.records.environment import utc_now
from fuxictr_loopfm.records.record import RunRecord
from fuxictr_loopfm.runs.repeat import PLAIN, repeat_notes
from fuxictr_loopfm.runs.reporting import make_record

FILES = ("train_data", "valid_data", "test_data")


def _require_both_classes(params: Mapping[str, Any], encoded: PlainPaths) -> None:
    """Each file must have clicks and others, or the training was for nothing.

    Raises:
        DataError: it has not.
    """
    plan = ColumnPlan.from_params(params)
    (label,) = plan.labels[:1]
    if label["name"] not in binary_labels(params, plan):
        return
    for name, path in zip(FILES, encoded[:3], strict=True):
        values = np.unique(read_column([Path(str(path))], label["name"]))
        if not np.array_equal(values, (0, 1)):
            raise DataError(
                f"{params[name]}: {label['name']}: expected labels 0 and 1, found "
                f"{values[:5].tolist()}. Give {name} with both, of a longer time for example."
            )


def _require_an_evaluation(experiment: Experiment, batches: int) -> None:
    """FuxiCTR saves weights when it evaluates, and ends by loading what it saved.

    Raises:
        ConfigError: ``eval_steps`` are more than there are.
    """
    steps, epochs = experiment.params.get("eval_steps"), experiment.params.get("epochs", 1)
    if steps is not None and steps > batches * epochs:
        raise ConfigError(
            f"{experiment.where}: eval_steps: expected at most the {batches * epochs} steps of "
            f"{epochs} epochs, found {steps}. Give null to evaluate after each epoch."
        )


def run_plain(
    experiment: Experiment, *, command: str
) -> tuple[RunRecord, dict[str, dict[str, float]]]:
    """Train with early stopping on ``valid_data`` and test on ``test_data``.

    Raises:
        ConfigError: the expid asks for a history or distillation, or a file is not named.
    """
    keys, params = experiment.keys, experiment.params
    if keys.columns or keys.kd != "none":
        raise ConfigError(
            f"{experiment.expid}: loopfm_history and loopfm_kd need a prepared data set: expected "
            "loopfm_prepared, found null. Make one with data_prep/custom.py."
        )
    for name in FILES:
        if not params.get(name):
            raise ConfigError(
                f"{experiment.expid}: {name}: expected a file, found null. Name one in the data "
                "set's entry of dataset_config.yaml."
            )
    require_model(experiment)
    started = utc_now()
    encoded = build_plain(params)
    data_format = str(params.get("data_format", "csv"))
    data = {name: content_of(params[name], data_format) for name in FILES}
    _require_both_classes(params, encoded)
    feature_map = read_feature_map(Path(encoded.feature_map), params)
    model = new_model(experiment, feature_map)
    logging.info("Total number of parameters: %d.", count_parameters(model))
    paths = {"train": encoded.train, "valid": encoded.valid, "test": encoded.test}
    made = loaders_by_split(feature_map, LoopFMDataLoader, paths, params)
    _require_an_evaluation(experiment, len(made["train"]))
    clock = time.perf_counter()
    with explained_failures(model, "training"):
        model.fit(made["train"], epochs=params.get("epochs", 1), validation_data=made["valid"])
    seconds = time.perf_counter() - clock
    logging.info("****** Validation evaluation ******")
    results = {"valid": evaluate(model, made["valid"])[0]}
    logging.info("******** Test evaluation ********")
    results["test"] = evaluate(model, made["test"])[0]
    origin = {name: {"file": Path(params[name]).name, "sha256": data[name]} for name in FILES}
    shared = data["valid_data"] == data["test_data"]
    record = make_record(
        experiment,
        model,
        metrics=results["test"],
        data=fingerprint(data),
        train_seconds=seconds,
        bytes_per_event=0.0,
        started=started,
        model=params["model"],
        method="base",
        dataset_id=params["dataset_id"],
        protocol="bars",
        split="validated on the test file, as BARS does"
        if shared
        else "early stopping on the validation file, then the test file",
        command=command,
        repeat=repeat_notes(experiment, model, kind=PLAIN, origin=origin),
    )
    return record, results
