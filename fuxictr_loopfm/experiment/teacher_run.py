"""A teacher's expid run by itself: train or load it, and test it on the test period."""

from __future__ import annotations

import logging
import time

from fuxictr_loopfm.experiment.experiment import Experiment
from fuxictr_loopfm.experiment.model import count_parameters
from fuxictr_loopfm.experiment.record import RunRecord, code_identity, collect_environment, utc_now
from fuxictr_loopfm.experiment.runner import identity_config
from fuxictr_loopfm.experiment.teacher import TeacherRun
from fuxictr_loopfm.experiment.trainer import evaluate
from fuxictr_loopfm.experiment.workspace import Workspace
from fuxictr_loopfm.experiment.zoo import find_model
from fuxictr_loopfm.fsio import fingerprint


def run_teacher(
    experiment: Experiment, *, command: str
) -> tuple[RunRecord, dict[str, dict[str, float]]]:
    """Train (or load) the teacher and report its metrics on the test period."""
    started, clock = utc_now(), time.perf_counter()
    workspace = Workspace(experiment, None)
    prepared = workspace.prepared
    run = TeacherRun(experiment, experiment.keys, prepared, workspace.artifact_root).ready()
    seconds = time.perf_counter() - clock
    logging.info("******** Test evaluation ********")
    values, _ = evaluate(run.model, run.batches_of_period(prepared.spec.periods.test[0]))
    config = identity_config(experiment)
    record = RunRecord(
        expid=experiment.expid,
        model=experiment.params["model"],
        method="teacher",
        encoder="",
        dataset_id=prepared.spec.dataset_id,
        protocol="stream",
        seed=experiment.params["seed"],
        metrics=values,
        params=count_parameters(run.model),
        bytes_per_event=0.0,
        train_seconds=seconds,
        config=config,
        fingerprints={
            "data": prepared.fingerprint,
            "code": code_identity(find_model(experiment.params["model"], list(experiment.zoos))),
            "teacher": run.teacher_fingerprint,
            "store": "",
            "config": fingerprint(config),
        },
        environment=collect_environment(),
        command=command,
        started=started,
        split=f"trained on periods {list(prepared.spec.periods.teacher_train)}, "
        f"tested on {list(prepared.spec.periods.test)}",
    )
    return record, {"test": values}
