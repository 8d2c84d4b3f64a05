"""Makes the record of a finished run, with its identity."""

from __future__ import annotations

from typing import Any

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.identity import identity_config, run_fingerprints
from fuxictr_loopfm.host.distributed import world_size
from fuxictr_loopfm.host.model import count_parameters
from fuxictr_loopfm.records.environment import collect_environment
from fuxictr_loopfm.records.record import RunRecord


def make_record(
    experiment: Experiment,
    model: Any,
    /,
    *,
    data: str,
    teacher: str = "",
    store: str = "",
    **told: Any,
) -> RunRecord:
    """The record of a finished run.

    Args:
        experiment: what was run; what follows from it is not asked for.
        model: the trained model.
        data, teacher, store: fingerprints, "" where there is none.
        told: the entries of ``RunRecord`` that only the run knows.
    """
    return RunRecord(
        expid=experiment.expid,
        encoder=experiment.keys.encoder if experiment.keys.columns else "",
        seed=experiment.params["seed"],
        params=count_parameters(model),
        config=identity_config(experiment),
        fingerprints=run_fingerprints(experiment, data) | {"teacher": teacher, "store": store},
        environment=collect_environment(),
        world_size=world_size(),
        **told,
    )
