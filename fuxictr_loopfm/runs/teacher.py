"""A teacher's expid run by itself: train or load it, and test it on the test period."""

from __future__ import annotations

import logging
import time

from fuxictr_loopfm.config.early_checks import require_usable
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.host.trainer import evaluate
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.records.environment import utc_now
from fuxictr_loopfm.records.record import RunRecord
from fuxictr_loopfm.runs.repeat import TEACHER, origin_of, repeat_notes
from fuxictr_loopfm.runs.reporting import make_record


def run_teacher(
    experiment: Experiment, *, command: str
) -> tuple[RunRecord, dict[str, dict[str, float]]]:
    """Train (or load) the teacher and report its metrics on the test period."""
    started, clock = utc_now(), time.perf_counter()
    workspace = Workspace(experiment, experiment.upstream)
    prepared = workspace.prepared
    require_usable(prepared)
    passing = ExtractionPass(experiment, experiment.keys, prepared, workspace.artifact_root)
    run = passing.trained()
    seconds = time.perf_counter() - clock
    logging.info("******** Test evaluation ********")
    values, _ = evaluate(run.model, run.batches_of_period(prepared.spec.periods.test[0]))
    periods = prepared.spec.periods
    record = make_record(
        experiment,
        run.model,
        metrics=values,
        data=prepared.fingerprint,
        teacher=run.teacher_fingerprint,
        train_seconds=seconds,
        bytes_per_event=0.0,
        started=started,
        model=experiment.params["model"],
        method="teacher",
        dataset_id=prepared.spec.dataset_id,
        protocol="stream",
        split=f"trained on periods {list(run.train_periods)}, tested on {list(periods.test)}",
        command=command,
        repeat=repeat_notes(
            experiment,
            run.model,
            kind=TEACHER,
            origin=origin_of(prepared, experiment),
            teacher=experiment.upstream,
        ),
    )
    return record, {"test": values}
