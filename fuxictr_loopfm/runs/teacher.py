"""A teacher's expid run by itself: train or load it, and test it on the test period."""

from __future__ import annotations

import logging
import time

import numpy as np

from fuxictr_loopfm.analysis import metrics
from fuxictr_loopfm.config.early_checks import require_usable
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.data.view import EncodedView
from fuxictr_loopfm.host.trainer import evaluate
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.environment import utc_now
from fuxictr_loopfm.records.record import RunRecord
from fuxictr_loopfm.runs.repeat import TEACHER, origin_of, repeat_notes
from fuxictr_loopfm.runs.reporting import make_record
from fuxictr_loopfm.store.extraction_log import ExtractionLog


def quality_by_period(
    log: ExtractionLog, prepared: PreparedDataset, view: EncodedView
) -> dict[int, dict[str, float]]:
    """What a teacher's logged predictions are worth, period by period.

    Each was made by the checkpoint that logged the period, so of periods that it had not learned.

    Args:
        log: of the teacher.
        prepared: the event log.
        view: the teacher's, which says by what gAUC groups.
    Returns:
        ``evaluate``'s metrics by number of the period; periods of one class alone are left out.
    """
    label, period = prepared.label[log.event_id], prepared.period[log.event_id]
    group = view.column(view.group_id)[log.event_id]
    probability = 1.0 / (1.0 + np.exp(-log.logit.astype(np.float64)))
    found = {}
    for number in np.unique(period).tolist():
        rows = period == number
        if len(np.unique(label[rows])) == 2:
            found[number] = metrics.evaluate(label[rows], probability[rows], group[rows])
            logging.info("[Teacher] period %d: AUC %.6f", number, found[number]["AUC"])
    return found


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
        values, _ = evaluate(run.model, run.batches_of_period(periods.test[0]))
    else:
        values = quality_by_period(log, prepared, run.view)[periods.test[0]]
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
