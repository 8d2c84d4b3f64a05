"""What of an experiment and its data can be checked before anything is built, and so is.

A teacher takes hours to train. A mistake that would only be met after it is looked for here, from
the configuration, the description of the prepared data set, and three columns of its events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fuxictr_loopfm.config.argument_rules import argument_problems
from fuxictr_loopfm.config.feature_choice import feature_choice_problems
from fuxictr_loopfm.config.metric_rules import group_problems
from fuxictr_loopfm.config.names import split_names
from fuxictr_loopfm.config.zoo import load_model_class
from fuxictr_loopfm.errors import ConfigError, DataError, did_you_mean
from fuxictr_loopfm.prepared.parts import INDEX_COLUMNS
from fuxictr_loopfm.structuring.event_filter import parse_filter

if TYPE_CHECKING:
    from fuxictr_loopfm.config.experiment import Experiment
    from fuxictr_loopfm.prepared.dataset import DatasetSpec, PreparedDataset

ALL_COLUMNS = "all"
_REMEDY = "Change the configuration; nothing was built."
_REPAIR = "Correct the log and prepare it again with its script of data_prep/."


def require_sound(experiment: Experiment, teacher: Experiment | None, spec: DatasetSpec) -> None:
    """Refuse a model that no zoo has, and keys that name columns which are not there.

    Args:
        experiment: the vertical model's, or a teacher's run by itself.
        teacher: the experiment that its ``loopfm_teacher`` names.
        spec: of the prepared data set.
    Raises:
        ConfigError: with every problem found.
    """
    problems = []
    asked: Experiment | None = experiment
    while asked is not None:
        problems += _model_problems(asked)
        if asked is experiment or asked.keys.columns:
            mistaken = [*_key_problems(asked, spec), *_columns(asked)]
            problems += [f"{asked.where}: {problem}" for problem in mistaken]
        asked = teacher if asked is experiment else asked.upstream
    if problems:
        raise ConfigError(problems, _REMEDY)


def require_model(experiment: Experiment) -> None:
    """Refuse what a run without a prepared data set could not do, before anything is encoded.

    That is a model that no zoo has, params that nobody reads, and groups that are not there.

    Raises:
        ConfigError: with every problem found.
    """
    problems = _model_problems(experiment)
    groups = group_problems(experiment.params, experiment.columns.names())
    problems += [f"{experiment.where}: {text}" for text in groups]
    if problems:
        raise ConfigError(problems, _REMEDY)


def require_usable(prepared: PreparedDataset) -> None:
    """Refuse events that no model can learn from or be tested on; our own scripts write none.

    Raises:
        DataError: rows out of time order, a period without rows, labels other than 0 and 1, or a
            training or test without both.
    """
    path, spec = prepared.folder / "events.parquet", prepared.spec
    problems = []
    late = np.flatnonzero(np.diff(prepared.timestamp) < 0)
    if len(late):
        row = int(late[0]) + 1
        times = prepared.timestamp[row - 1 : row + 1]
        problems.append(
            f"{path}: timestamp: expected rows in time order, found {times[1]} after {times[0]} "
            f"in row {row} ({len(late)} such rows)"
        )
    known = np.isin(prepared.label, (0, 1))
    if not known.all():
        row = int(np.argmin(known))
        problems.append(
            f"{path}: {spec.label}: expected 0 or 1, found {prepared.label[row]} in row {row} "
            f"({int((~known).sum())} such rows)"
        )
    rows = np.bincount(prepared.period, minlength=spec.periods.count + 1)
    problems += [
        f"{path}: period {number} of {spec.periods.count}: expected at least one row, found none"
        for number in range(1, spec.periods.count + 1)
        if not rows[number]
    ]
    if not problems:
        problems = [*_one_class(prepared)]
    if problems:
        raise DataError("\n".join([*problems, _REPAIR]))


def _one_class(prepared: PreparedDataset) -> list[str]:
    periods, name = prepared.spec.periods, prepared.spec.label
    roles = {
        "the teacher's periods": periods.teacher_train,
        "the training periods": periods.vertical_train,
        "the test period": periods.test,
    }
    found = {role: prepared.label[prepared.rows_of(numbers)] for role, numbers in roles.items()}
    return [
        f"{prepared.folder / 'events.parquet'}: {name}: expected both classes in {role} "
        f"{list(roles[role])}, found {len(labels)} rows with label {labels[0]} only"
        for role, labels in found.items()
        if len(labels) and (labels == labels[0]).all()
    ]


def _model_problems(experiment: Experiment) -> list[str]:
    try:
        model_class, _ = load_model_class(str(experiment.params["model"]), list(experiment.zoos))
    except ConfigError as error:
        return [f"{experiment.where}: {text}" for text in error.problems]
    found = argument_problems(model_class, experiment.params)
    found += feature_choice_problems(experiment.params, experiment.columns.order)
    return [f"{experiment.where}: {text}" for text in found]


def _key_problems(experiment: Experiment, spec: DatasetSpec) -> list[str]:
    """The key column and the column of the event filter, against the prepared data set."""
    keys = experiment.keys
    known = [*(column.name for column in spec.columns), *spec.side_columns]
    problems = []
    if keys.key is not None and keys.key not in known:
        problems.append(
            f"loopfm_key: expected a column of {spec.dataset_id}, found {keys.key!r}"
            f"{did_you_mean(keys.key, known)}; it has {known}"
        )
    problems += [
        f"feature_cols: {name}: key: expected a column of {spec.dataset_id}, found {entity!r}"
        f"{did_you_mean(entity, known)}; it has {known}"
        for name, entity in experiment.columns.history_entities(spec.user).items()
        if entity not in known
    ]
    try:
        keys.sequence_spec(spec.time_unit, spec.known_columns)
    except ConfigError as error:
        problems += error.problems
    if keys.event_filter is not None:
        try:
            column, _ = parse_filter(keys.event_filter, spec.label)
        except ConfigError as error:
            return [*problems, *error.problems]
        filtered = [*known, spec.label, *INDEX_COLUMNS]
        if column not in filtered:
            problems.append(
                f"loopfm_event_filter: expected a column of {spec.dataset_id}, found {column!r}"
                f"{did_you_mean(column, filtered)}; it has {filtered}"
            )
    return problems


def _columns(experiment: Experiment) -> list[str]:
    """Query and id columns, against the experiment's own features."""
    keys, types = experiment.keys, experiment.columns.types
    named = {}
    if keys.columns and keys.uses_query:
        named["query_columns"] = keys.query_columns
    if "ids" in keys.columns:
        named["id_columns"] = keys.id_columns
    problems = []
    for key, text in named.items():
        for name in () if text == ALL_COLUMNS else split_names(text):
            if types.get(name) == "categorical":
                continue
            found = f"a {types[name]} feature" if name in types else "none"
            features = experiment.columns.names("categorical")
            problems.append(
                f"loopfm_{key}: {name!r}: expected a categorical feature of feature_cols, found "
                f"{found}{did_you_mean(name, features)}; there are {list(features)}"
            )
    return problems
