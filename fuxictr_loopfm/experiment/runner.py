"""One run: the body of every ``run_expid.py`` and of every benchmark entry."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.utils import print_to_list

from fuxictr_loopfm import host
from fuxictr_loopfm.compression.quantizer import codec_from_dict
from fuxictr_loopfm.data.dataloader import LoopFMDataLoader
from fuxictr_loopfm.data.history_source import HistorySource
from fuxictr_loopfm.distillation import DistillationSpec, Distiller
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.experiment.experiment import Experiment
from fuxictr_loopfm.experiment.keys import LoopFMKeys, split_names
from fuxictr_loopfm.experiment.model import (
    count_parameters,
    feature_map_of,
    new_model,
    source_identity,
)
from fuxictr_loopfm.experiment.record import RunRecord, code_identity, collect_environment, utc_now
from fuxictr_loopfm.experiment.trainer import evaluate, train_epochs
from fuxictr_loopfm.experiment.workspace import Workspace
from fuxictr_loopfm.experiment.zoo import find_model
from fuxictr_loopfm.fsio import fingerprint

ID_BYTES = 4
LABEL_BYTES = 1
NOT_IDENTITY = ("gpu", "verbose", "model_root", "data_root", "num_workers")


@dataclass
class Run:
    """A vertical model's run: what was asked, its artifacts, and afterwards the trained model."""

    experiment: Experiment
    workspace: Workspace
    model: Any = None
    train_seconds: float = 0.0

    @property
    def keys(self) -> LoopFMKeys:
        """The ``loopfm_*`` keys."""
        return self.experiment.keys


def history_features(run: Run) -> dict[str, str]:
    """Name and key column of each ``loopfm_sequence`` feature the run uses.

    Raises:
        ConfigError: ``loopfm_history`` is set and the data set has no such feature.
    """
    if not run.keys.columns:
        return {}
    default_key = run.keys.key or run.workspace.prepared.spec.user
    found = {
        str(column["name"]): str(column.get("key") or default_key)
        for column in run.experiment.params["feature_cols"]
        if column.get("type") == host.SEQUENCE_TYPE and column.get("active", True)
    }
    if not found:
        raise ConfigError(
            f"{run.experiment.expid}: loopfm_history={run.keys.history}: expected a feature of "
            f"type {host.SEQUENCE_TYPE} in feature_cols of {run.experiment.params['dataset_id']}, "
            "found none. Add {name: loopfm_history, active: True, dtype: float, "
            f"type: {host.SEQUENCE_TYPE}}}."
        )
    return found


def item_columns(run: Run, named: str | None) -> tuple[str, ...]:
    """Columns named by a key, else the data set's item columns that this view has."""
    if named is not None:
        return split_names(named)
    features = {
        name
        for column in run.experiment.params["feature_cols"]
        if column.get("type") == "categorical"
        for name in (column["name"] if isinstance(column["name"], list) else [column["name"]])
    }
    return tuple(c for c in run.workspace.prepared.spec.item_columns if c in features)


def history_field(run: Run, name: str, embedding_dim: int) -> host.HistoryField:
    """The model-side description of a history."""
    keys = run.keys
    target_aware = keys.encoder not in ("mean", "sum")
    return host.HistoryField(
        name=name,
        columns=keys.columns,
        embedding_dim=embedding_dim,
        id_columns=item_columns(run, keys.id_columns) if "ids" in keys.columns else (),
        query_columns=item_columns(run, keys.query_columns) if target_aware else (),
        encoder=keys.encoder,
        dim=keys.encoder_dim,
        num_heads=keys.encoder_heads,
        num_layers=keys.encoder_layers,
        dropout=keys.encoder_dropout,
        max_len=keys.max_len,
    )


def history_source(run: Run, field: host.HistoryField, store: Any, key: str, split: str) -> Any:
    """What the loader gathers for a split."""
    view = run.workspace.view
    return HistorySource(
        store,
        run.workspace.pointers(store, key, split),
        codec=codec_from_dict(store.manifest.codec),
        columns=field.columns,
        spec=run.keys.sequence_spec(store.manifest.time_unit),
        sample_time=run.workspace.prepared.timestamp[slice(*view.rows(split))],
        ids={name: view.column(name) for name in field.id_columns},
        first_event=view.rows(split)[0],
    )


def splits(run: Run) -> dict[str, tuple[str, tuple[int, int] | None]]:
    """File and rows (None = all) of the train, valid and test splits.

    ``loopfm_validation`` takes the last training period for early stopping, never the test.
    """
    chosen: dict[str, tuple[str, tuple[int, int] | None]] = {
        "train": ("train", None),
        "test": ("test", None),
    }
    if run.keys.validation:
        start, stop = run.workspace.view.rows("train")
        last = run.workspace.prepared.spec.periods.vertical_train[-1]
        cut = run.workspace.prepared.rows_of((last,)).start
        if cut <= start:
            raise ConfigError(
                f"{run.experiment.expid}: loopfm_validation: expected two training periods or "
                "more, found one"
            )
        chosen["train"] = ("train", (0, cut - start))
        chosen["valid"] = ("train", (cut - start, stop - start))
    return chosen


def loaders(run: Run, feature_map: Any, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A loader per split, made through FuxiCTR's ``data_loader`` hook so that it logs its lines.

    Args:
        sources: the histories by feature, for each file that a split reads.
    """
    params, chosen = run.experiment.params, splits(run)
    logit = run.workspace.teacher_logit if run.keys.kd != "none" else None

    def data_loader(feature_map: Any, path: str, *, split: str, **kwargs: Any) -> LoopFMDataLoader:
        file, rows = chosen[split]
        return LoopFMDataLoader(
            feature_map,
            path,
            split=split,
            batch_size=kwargs["batch_size"],
            shuffle=kwargs["shuffle"],
            seed=params["seed"],
            loopfm_rows=rows,
            loopfm_histories=sources[file],
            loopfm_teacher_logit=logit,
        )

    paths = {
        f"{split}_data": str(run.workspace.view.folder / f"{file}.parquet")
        for split, (file, _) in chosen.items()
    }
    made = RankDataLoader(
        feature_map,
        stage="both",
        batch_size=params["batch_size"],
        shuffle=params.get("shuffle", False),
        data_loader=data_loader,
        **paths,
    )
    return {name: gen for name, gen in zip(("train", "valid", "test"), made) if gen is not None}


def train_vertical(run: Run) -> dict[str, Any]:
    """Build, train and keep the vertical model; returns the loaders."""
    keys, params = run.keys, run.experiment.params
    names = history_features(run)
    stores = {name: run.workspace.store(key) for name, key in names.items()}
    fields = [history_field(run, name, stores[name].manifest.dim) for name in names]
    feature_map = feature_map_of(
        run.experiment, run.workspace.view, fields, with_teacher_logit=keys.kd != "none"
    )
    sources = {
        file: {
            field.name: history_source(run, field, stores[field.name], names[field.name], file)
            for field in fields
        }
        for file in {file for file, _ in splits(run).values()}
    }
    made = loaders(run, feature_map, sources)
    run.model = new_model(run.experiment, feature_map, fields)
    logging.info("Total number of parameters: %d.", count_parameters(run.model))
    if keys.kd != "none":
        spec = DistillationSpec(
            keys.kd, keys.kd_weight, keys.kd_label_scale, keys.kd_gradient_scale, keys.kd_trunk
        )
        Distiller(run.model, spec, next(iter(made["train"])))
    started = time.perf_counter()
    _fit(run, made, params)
    run.train_seconds = time.perf_counter() - started
    return made


def _fit(run: Run, made: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    model = run.model
    if "valid" in made:
        model.fit(made["train"], epochs=params.get("epochs", 1), validation_data=made["valid"])
        host.check_histories_learn(model, model.loopfm_histories)
        return
    pending = [model.loopfm_histories]

    def check_once(_batch: Mapping[str, Any]) -> None:
        if pending:
            host.check_histories_learn(model, pending.pop())

    train_epochs(model, made["train"], epochs=params.get("epochs", 1), after_step=check_once)
    model.save_weights(model.checkpoint)


def bytes_per_event(run: Run) -> float:
    """Stored bytes that one past event adds to a history under this run's keys."""
    columns = run.keys.columns
    total = 0.0
    if "embedding" in columns:
        key = next(iter(history_features(run).values()))
        total += run.workspace.store(key).manifest.row_bytes
    if "ids" in columns:
        total += ID_BYTES * len(item_columns(run, run.keys.id_columns))
    return total + (LABEL_BYTES if "label" in columns else 0.0)


def identity_config(experiment: Experiment) -> dict[str, Any]:
    """The resolved configuration without what depends on where it runs."""
    return {
        name: value
        for name, value in experiment.params.items()
        if name not in NOT_IDENTITY and not name.endswith(("_data", "_config", "prepared", "prepare"))
    }


def run_vertical(
    experiment: Experiment, workspace: Workspace, *, model_name: str, command: str
) -> tuple[RunRecord, dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Train and test a vertical model.

    Args:
        experiment: the expid.
        workspace: its artifacts; may be shared by runs of equal data.
        model_name: name in the leaderboard, for example ``DeepFM:small``.
        command: the command line to repeat the run.
    Returns:
        The record, metrics by split (``valid`` only with validation), test predictions.
    """
    run = Run(experiment, workspace)
    started = utc_now()
    made = train_vertical(run)
    results: dict[str, dict[str, float]] = {}
    if "valid" in made:
        logging.info("****** Validation evaluation ******")
        results["valid"], _ = evaluate(run.model, made["valid"])
    logging.info("******** Test evaluation ********")
    results["test"], predictions = evaluate(run.model, made["test"])
    config = identity_config(experiment)
    folder = find_model(experiment.params["model"], list(experiment.zoos))
    reads_teacher = experiment.keys.needs_teacher
    record = RunRecord(
        expid=experiment.expid,
        model=model_name,
        method=experiment.keys.method,
        encoder=experiment.keys.encoder if experiment.keys.columns else "",
        dataset_id=workspace.prepared.spec.dataset_id,
        protocol="stream" if not experiment.keys.validation else "stream, early stopping",
        seed=experiment.params["seed"],
        metrics=results["test"],
        params=count_parameters(run.model),
        bytes_per_event=bytes_per_event(run),
        train_seconds=run.train_seconds,
        config=config,
        fingerprints={
            "data": workspace.prepared.fingerprint,
            "code": code_identity(folder),
            "teacher": workspace.extraction.manifest.compressor_fingerprint if reads_teacher else "",
            "store": _store_fingerprint(run),
            "config": fingerprint(config),
        },
        environment=collect_environment(),
        command=command,
        started=started,
        split=_split_text(workspace),
    )
    return record, results, predictions


def _store_fingerprint(run: Run) -> str:
    keys = history_features(run).values()
    return "+".join(run.workspace.store(key).manifest.fingerprint for key in keys)


def _split_text(workspace: Workspace) -> str:
    periods = workspace.prepared.spec.periods
    return (
        f"teacher trained on periods {_span(periods.teacher_train)}, logged {_span(periods.log)}; "
        f"vertical model trained on {_span(periods.vertical_train)} in time order, "
        f"tested on {_span(periods.test)} ({workspace.prepared.spec.period_rule})"
    )


def _span(periods: tuple[int, ...]) -> str:
    return str(periods[0]) if len(periods) == 1 else f"{periods[0]}-{periods[-1]}"


def append_result_line(
    path: Path, expid: str, dataset_id: str, results: Mapping[str, Mapping[str, float]], metrics: list[str]
) -> None:
    """Append FuxiCTR's result line, in its own format."""
    def shown(split: str) -> str:
        values = results.get(split, {})
        return print_to_list({name: values[name] for name in metrics if name in values})

    line = " {},[command] python {},[exp_id] {},[dataset_id] {},[train] {},[val] {},[test] {}\n"
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(
            line.format(
                datetime.now().strftime("%Y%m%d-%H%M%S"),
                " ".join(sys.argv),
                expid,
                dataset_id,
                "N.A.",
                shown("valid"),
                shown("test"),
            )
        )


