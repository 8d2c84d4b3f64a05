"""One run: the body of every ``run_expid.py`` and of every benchmark entry."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fuxictr_loopfm.analysis.metrics import prediction_warnings
from fuxictr_loopfm.analysis.training_watch import training_warnings
from fuxictr_loopfm.config.early_checks import require_usable
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.identity import identity_config, model_identity
from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.data.column_rules import HISTORY_TYPE
from fuxictr_loopfm.data.dataloader import LoopFMDataLoader
from fuxictr_loopfm.data.history_source import HistorySource
from fuxictr_loopfm.distillation.distiller import Distiller
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.host import distributed, history_fields
from fuxictr_loopfm.host.loaders import loaders_by_split
from fuxictr_loopfm.host.model import count_parameters, feature_map_of, new_model
from fuxictr_loopfm.host.model_failures import explained_failures
from fuxictr_loopfm.host.replica import train_on_all_ranks
from fuxictr_loopfm.host.trainer import evaluate, train_epochs
from fuxictr_loopfm.pipeline.histories import Histories, bytes_per_event, history_features
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.records.environment import utc_now
from fuxictr_loopfm.records.record import RunRecord
from fuxictr_loopfm.runs.repeat import (
    VERTICAL,
    log_fingerprint,
    origin_of,
    repeat_notes,
)
from fuxictr_loopfm.runs.reporting import make_record

EVALUATION_BATCH = 4096


@dataclass
class Run:
    """A vertical model's run: what was asked, its artifacts, and afterwards the trained model.

    Attributes:
        test_sources: what fills the histories of the test samples.
        losses: mean training loss of each epoch, empty with early stopping.
    """

    experiment: Experiment
    workspace: Workspace
    model: Any = None
    train_seconds: float = 0.0
    test_sources: Mapping[str, Any] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)

    @property
    def keys(self) -> LoopFMKeys:
        """The ``loopfm_*`` keys."""
        return self.experiment.keys


def splits(run: Run) -> dict[str, tuple[str, slice | None]]:
    """File and rows (None = all) of the train, valid and test splits.

    ``loopfm_validation`` takes the last training period for early stopping, never the test.
    """
    chosen: dict[str, tuple[str, slice | None]] = {"train": ("train", None), "test": ("test", None)}
    if run.keys.validation:
        rows = run.workspace.view.rows("train")
        last = run.workspace.prepared.spec.periods.vertical_train[-1]
        cut = run.workspace.prepared.rows_of((last,)).start
        if cut <= rows.start:
            raise ConfigError(
                f"{run.experiment.expid}: loopfm_validation: expected two training periods or "
                "more, found one"
            )
        chosen["train"] = ("train", slice(0, cut - rows.start))
        chosen["valid"] = ("train", slice(cut - rows.start, rows.stop - rows.start))
    return chosen


def evaluation_batch_size(feature_map: Any, params: Mapping[str, Any]) -> int:
    """Rows of a batch that is only evaluated: more than in training where that changes no bit.

    On a CPU the predictions of the models in ``model_zoo`` are the same. Attention over sequences
    takes memory for each row and no less time, and ranks share training's batches: there, and on a
    GPU, it stays training's size.

    Args:
        feature_map: FuxiCTR's description of the features.
        params: FuxiCTR params.
    """
    own = int(params["batch_size"])
    sequences = any(
        spec["type"] in ("sequence", HISTORY_TYPE) for spec in feature_map.features.values()
    )
    if sequences or params["gpu"] >= 0 or distributed.world_size() > 1:
        return own
    return max(own, EVALUATION_BATCH)


def loaders(run: Run, feature_map: Any, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A loader per split.

    Args:
        sources: the histories by feature, for each file that a split reads.
    """
    params, chosen, workspace = run.experiment.params, splits(run), run.workspace
    logit = workspace.teacher_logit if run.keys.reads_loss else None
    embedding = workspace.teacher_embedding if run.keys.needs_loss_embedding else None
    evaluation_batch = evaluation_batch_size(feature_map, params)

    def data_loader(feature_map: Any, path: str, *, split: str, **kwargs: Any) -> LoopFMDataLoader:
        file, rows = chosen[split]
        return LoopFMDataLoader(
            feature_map,
            path,
            split=split,
            batch_size=kwargs["batch_size"] if split == "train" else evaluation_batch,
            shuffle=kwargs["shuffle"],
            seed=params["seed"],
            loopfm_rows=rows,
            loopfm_share=distributed.share(),
            loopfm_histories=sources[file],
            loopfm_teacher_logit=logit,
            loopfm_teacher_embedding=embedding,
        )

    paths = {
        split: str(workspace.view.folder / f"{file}.parquet") for split, (file, _) in chosen.items()
    }
    given = {"batch_size": params["batch_size"], "shuffle": params.get("shuffle", False)}
    return loaders_by_split(feature_map, data_loader, paths, given)


def train_vertical(run: Run) -> dict[str, Any]:
    """Build, train and keep the vertical model; returns the loaders."""
    keys, params = run.keys, run.experiment.params
    with distributed.chief_first():
        histories = Histories(run.workspace)
        feature_map = feature_map_of(
            run.experiment,
            run.workspace.view,
            histories.fields,
            with_teacher_logit=keys.reads_loss,
            with_teacher_embedding=keys.needs_loss_embedding,
        )
        files = {file for file, _ in splits(run).values()}
        sources = {file: histories.sources(file) for file in files}
        run.test_sources = sources["test"]
        made = loaders(run, feature_map, sources)
    run.model = new_model(run.experiment, feature_map, histories.fields)
    if distributed.world_size() > 1:
        distributed.require_same(_inputs(run), run.model.device)
        train_on_all_ranks(run.model, keys)
    logging.info("Total number of parameters: %d.", count_parameters(run.model))
    if keys.reads_loss:
        with explained_failures(run.model, "its first batch"):
            Distiller(run.model, keys.distillation, made["train"].example())
    started = time.perf_counter()
    _fit(run, made, params)
    run.train_seconds = time.perf_counter() - started
    return made


def _inputs(run: Run) -> dict[str, str]:
    """Fingerprints of all that determines the training; by content where content is checked."""
    experiment, workspace = run.experiment, run.workspace
    found = {
        "configuration": fingerprint(identity_config(experiment)),
        "code": model_identity(experiment),
        "prepared data": workspace.prepared.fingerprint,
        "event store": _store_fingerprint(workspace),
    }
    if run.keys.needs_teacher:
        found["teacher's log"] = log_fingerprint(workspace.extraction.manifest)
    return found


def _fit(run: Run, made: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    model = run.model
    if "valid" in made:
        with explained_failures(model, "training"):
            model.fit(made["train"], epochs=params.get("epochs", 1), validation_data=made["valid"])
        history_fields.check_histories_learn(model, model.loopfm_histories)
        return
    pending = [model.loopfm_histories]

    def check_once(_batch: Mapping[str, Any]) -> None:
        if pending:
            history_fields.check_histories_learn(model, pending.pop())

    epochs = params.get("epochs", 1)
    run.losses = train_epochs(model, made["train"], epochs=epochs, after_step=check_once)
    model.save_weights(model.checkpoint)


def run_vertical(
    experiment: Experiment,
    workspace: Workspace,
    *,
    model_name: str,
    command: str,
    method: str | None = None,
) -> tuple[RunRecord, dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Train and test a vertical model.

    Args:
        experiment: the expid.
        workspace: its artifacts; may be shared by runs of equal data.
        model_name: name in the leaderboard, for example ``DeepFM:small``.
        command: the command line to repeat the run.
        method: name of the method in tables; by default what the keys say.
    Returns:
        The record, metrics by split (``valid`` only with validation), test predictions, among them
        ``y_grouped`` (M,) for gAUC where the history has labels.
    """
    require_usable(workspace.prepared)
    run = Run(experiment, workspace)
    started = utc_now()
    made = train_vertical(run)
    results: dict[str, dict[str, float]] = {}
    if "valid" in made:
        logging.info("****** Validation evaluation ******")
        results["valid"], _ = evaluate(run.model, made["valid"])
    logging.info("******** Test evaluation ********")
    results["test"], predictions = evaluate(run.model, made["test"])
    if "label" in experiment.keys.columns and "gAUC" in results["test"]:
        live = results["test"]["gAUC"]
        grouped = _without_labels_of_the_test(run, made["test"], predictions)
        results["test"] |= {"gAUC": grouped, "gAUC_live": live}
    warnings = prediction_warnings(predictions["y_pred"], results["test"]["NE"])
    warnings += training_warnings({"loss": run.losses})
    for warning in warnings:
        logging.warning("%s: %s", experiment.expid, warning)
    record = make_record(
        experiment,
        run.model,
        metrics=results["test"],
        data=workspace.prepared.fingerprint,
        teacher=workspace.logged_by if experiment.keys.needs_teacher else "",
        store=_store_fingerprint(workspace),
        bytes_per_event=bytes_per_event(workspace),
        train_seconds=run.train_seconds,
        started=started,
        warnings=warnings,
        model=model_name,
        method=method or experiment.keys.method,
        dataset_id=workspace.prepared.spec.dataset_id,
        protocol="stream, early stopping" if experiment.keys.validation else "stream",
        split=split_text(workspace),
        command=command,
        repeat=_repeat_notes(run),
    )
    return record, results, predictions


def _without_labels_of_the_test(
    run: Run, batches: Any, predictions: dict[str, np.ndarray]
) -> float:
    """gAUC of a model that is not told any label of the test period.

    It compares the rows of a user with each other, and a later row's history holds the labels of
    the earlier ones: with their labels exchanged, its score would change, too.
    """
    first = run.workspace.prepared.rows_of(run.workspace.prepared.spec.periods.test).start
    for source in run.test_sources.values():
        if isinstance(source, HistorySource):
            source.forget_labels_from(first)
    logging.info("gAUC: labels of the test period unknown to histories")
    frozen, found = evaluate(run.model, batches)
    predictions["y_grouped"] = found["y_pred"]
    return frozen["gAUC"]


def _repeat_notes(run: Run) -> dict[str, Any]:
    workspace, reads_teacher = run.workspace, run.keys.needs_teacher
    return repeat_notes(
        run.experiment,
        run.model,
        kind=VERTICAL,
        origin=origin_of(workspace.prepared, run.experiment),
        teacher=workspace.teacher if reads_teacher else None,
        log=log_fingerprint(workspace.extraction.manifest) if reads_teacher else "",
    )


def _store_fingerprint(workspace: Workspace) -> str:
    entities = history_features(workspace).values()
    return "+".join(workspace.store_manifest(each).fingerprint for each in entities)


def split_text(workspace: Workspace) -> str:
    """Which periods train and test what, as records say it."""
    periods = workspace.prepared.spec.periods
    return (
        f"teacher trained on periods {_span(periods.teacher_train)}, logged {_span(periods.log)}; "
        f"vertical model trained on {_span(periods.vertical_train)} in time order, "
        f"tested on {_span(periods.test)} ({workspace.prepared.spec.period_rule})"
    )


def _span(periods: tuple[int, ...]) -> str:
    return str(periods[0]) if len(periods) == 1 else f"{periods[0]}-{periods[-1]}"
