"""A teacher's expid run by itself: train or load it, and test it on the test period."""

from __future__ import annotations

import logging
import time

from fuxictr_loopfm.analysis.metrics import prediction_warnings
from fuxictr_loopfm.analysis.training_watch import training_warnings
from fuxictr_loopfm.config.early_checks import require_usable
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.host.trainer import evaluate
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.pipeline.logged_quality import probability, quality_by_period
from fuxictr_loopfm.pipeline.teacher import TeacherRun
from fuxictr_loopfm.pipeline.teacher_files import read_teacher_manifest
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.records.environment import utc_now
from fuxictr_loopfm.records.record import RunRecord
from fuxictr_loopfm.runs.repeat import TEACHER, origin_of, repeat_notes
from fuxictr_loopfm.runs.reporting import make_record


def course_warnings(run: TeacherRun) -> list[str]:
    """What the course of a teacher's training says against it; nothing of an older release's."""
    course = read_teacher_manifest(run.folder).get("course")
    return training_warnings(course) if isinstance(course, dict) else []


def run_teacher(
    experiment: Experiment, *, command: str
) -> tuple[RunRecord, dict[str, dict[str, float]]]:
    """Train (or load) the teacher and report its metrics on the test period.

    One that learns every period is tested by what it logged: the checkpoint that knows all periods
    before the test.
    """
    started, clock = utc_now(), time.perf_counter()
    workspace = Workspace(experiment, experiment.upstream)
    prepared = workspace.prepared
    require_usable(prepared)
    passing = ExtractionPass(experiment, experiment.keys, prepared, workspace.artifact_root)
    periods = prepared.spec.periods
    fresh = experiment.keys.checkpoint != "fixed"
    log = passing.build() if fresh else None
    run = passing.trained()
    seconds = time.perf_counter() - clock
    logging.info("******** Test evaluation ********")
    if log is None:
        values, found = evaluate(run.model, run.batches_of_period(periods.test[0]))
        predicted = found["y_pred"]
    else:
        predicted = probability(log.logit[prepared.period[log.event_id] == periods.test[0]])
        group = run.view.column(run.view.group_id)
        values = quality_by_period(log, prepared, group)[periods.test[0]]
    warnings = prediction_warnings(predicted, values["NE"]) + course_warnings(run)
    for warning in warnings:
        logging.warning("%s: %s", experiment.expid, warning)
    learned = f"{list(run.train_periods)}"
    learned += f", going on through {periods.test[0] - 1}" if fresh else ""
    record = make_record(
        experiment,
        run.model,
        metrics=values,
        data=prepared.fingerprint,
        teacher=run.teacher_fingerprint,
        train_seconds=seconds,
        bytes_per_event=0.0,
        started=started,
        warnings=warnings,
        model=experiment.params["model"],
        method="teacher",
        dataset_id=prepared.spec.dataset_id,
        protocol="stream",
        split=f"trained on periods {learned}, tested on {list(periods.test)}",
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
