"""What a finished run leaves: a record with its identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.identity import identity_config, run_fingerprints
from fuxictr_loopfm.host.distributed import world_size
from fuxictr_loopfm.host.model import count_parameters
from fuxictr_loopfm.records.record import RunRecord, collect_environment


@dataclass(frozen=True)
class Outcome:
    """What only the run itself knows; the rest of a record follows from the experiment.

    Attributes:
        model: the trained model.
        metrics: AUC, gAUC, logloss and NE on the test split.
        train_seconds: wall-clock time of training.
        started: UTC time in ISO 8601.
        data, teacher, store: fingerprints, "" where there is none.
        bytes_per_event: stored bytes of one past event.
    """

    model: Any
    metrics: dict[str, float]
    train_seconds: float
    started: str
    data: str
    teacher: str = ""
    store: str = ""
    bytes_per_event: float = 0.0


def make_record(
    experiment: Experiment,
    outcome: Outcome,
    *,
    model_name: str,
    method: str,
    dataset_id: str,
    protocol: str,
    split: str,
    command: str,
    repeat: dict[str, Any],
) -> RunRecord:
    """The record of a finished run; arguments as in ``RunRecord``."""
    return RunRecord(
        expid=experiment.expid,
        model=model_name,
        method=method,
        encoder=experiment.keys.encoder if experiment.keys.columns else "",
        dataset_id=dataset_id,
        protocol=protocol,
        seed=experiment.params["seed"],
        metrics=outcome.metrics,
        params=count_parameters(outcome.model),
        bytes_per_event=outcome.bytes_per_event,
        train_seconds=outcome.train_seconds,
        config=identity_config(experiment),
        fingerprints={
            **run_fingerprints(experiment, outcome.data),
            "teacher": outcome.teacher,
            "store": outcome.store,
        },
        environment=collect_environment(),
        command=command,
        started=outcome.started,
        split=split,
        world_size=world_size(),
        repeat=repeat,
    )
