"""The teacher as a row of a board: what it logged, evaluated where its students are tested."""

from __future__ import annotations

import logging
import time

import numpy as np

from fuxictr_loopfm.analysis.metrics import evaluate, prediction_warnings
from fuxictr_loopfm.config.early_checks import require_usable
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.pipeline.logged_quality import probability, quality_by_period
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.records.environment import utc_now
from fuxictr_loopfm.records.record import RunRecord
from fuxictr_loopfm.runs.repeat import LOGGED, log_fingerprint, origin_of, repeat_notes
from fuxictr_loopfm.runs.reporting import make_record
from fuxictr_loopfm.runs.teacher import course_warnings
from fuxictr_loopfm.runs.vertical import split_text

TEACHER = "teacher"


def run_logged_teacher(
    experiment: Experiment, workspace: Workspace, *, model_name: str, command: str
) -> tuple[RunRecord, dict[str, np.ndarray]]:
    """Evaluate the teacher's logit of every logged event; the log is built if it is missing.

    Args:
        experiment: a vertical model's expid that reads the log, of whose board this is a row.
        workspace: its artifacts.
        model_name: the vertical model's name in the leaderboard.
        command: the command line to repeat the run.

    Returns:
        The record, whose metrics are those of the test period and whose ``by_period`` has the AUC
        of every logged period with labels of both classes; and the test predictions.
    """
    prepared, spec = workspace.prepared, workspace.prepared.spec
    require_usable(prepared)
    started, clock = utc_now(), time.perf_counter()
    p, user = probability(workspace.teacher_logit), prepared.array(spec.user)
    test = prepared.rows_of(spec.periods.test)
    metrics = evaluate(prepared.label[test], p[test], user[test])
    found = quality_by_period(workspace.extraction, prepared)
    run = workspace.extraction_pass.run
    warnings = prediction_warnings(p[test], metrics["NE"]) + course_warnings(run)
    for warning in warnings:
        logging.warning("%s: %s", experiment.keys.teacher, warning)
    assert workspace.teacher is not None  # it logged
    notes = repeat_notes(
        experiment,
        run.model,
        kind=LOGGED,
        origin=origin_of(prepared, experiment),
        teacher=workspace.teacher,
        log=log_fingerprint(workspace.extraction.manifest),
    )
    record = make_record(
        experiment,
        run.model,
        metrics=metrics,
        data=prepared.fingerprint,
        teacher=workspace.logged_by,
        bytes_per_event=0.0,
        train_seconds=time.perf_counter() - clock,
        started=started,
        warnings=warnings,
        by_period={str(period): values["AUC"] for period, values in found.items()},
        model=model_name,
        method=TEACHER,
        dataset_id=spec.dataset_id,
        protocol="stream, early stopping" if experiment.keys.validation else "stream",
        split=split_text(workspace),
        command=command,
        # What it logged may come of several states of the network, so no weights are noted.
        repeat={**notes, "weights": ""},
    )
    return record, {"y_true": prepared.label[test], "y_pred": p[test]}
