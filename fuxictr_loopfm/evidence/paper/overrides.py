"""Turns what a table's row or model changes into FuxiCTR params, whatever the model calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.identity import teacher_mark
from fuxictr_loopfm.config.keys import default_values
from fuxictr_loopfm.config.names import PREFIX
from fuxictr_loopfm.data.columns import DEFAULT_GROUP, EVENT_ID
from fuxictr_loopfm.errors import ConfigError, did_you_mean
from fuxictr_loopfm.evidence.benchmark.configs import HIDDEN_UNITS
from fuxictr_loopfm.evidence.benchmark.teacher_config import FRESH_KEYS
from fuxictr_loopfm.evidence.paper.table import TableRow, Vertical
from fuxictr_loopfm.prepared.dataset import DatasetSpec

TEACHER_FINGERPRINT = "teacher_fingerprint"
TEACHER_OVERRIDES = "teacher_overrides"
FEATURES = "features"


def resolved(changes: Mapping[str, Any], params: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``changes`` in the names of ``params``; ``hidden_units`` stands for the model's own key.

    Args:
        changes: values by a table's names; ``loopfm_*`` keys are taken as they are.
        params: of the experiment that is changed.
        where: the row, for messages.

    Raises:
        ConfigError: a param that the model does not have: FuxiCTR would ignore it silently.
    """
    found, problems = {}, []
    for name, value in changes.items():
        names = HIDDEN_UNITS if name in HIDDEN_UNITS else (name,)
        known = [own for own in names if own in params]
        if name.startswith(PREFIX):
            known = [name]
        if known:
            found[known[0]] = value
        else:
            hint = did_you_mean(name, params)
            problems.append(f"{where}: {params.get('model')} has no param {name}{hint}")
    if problems:
        raise ConfigError(problems)
    return found


def vertical_changes(plain: Experiment, vertical: Vertical) -> dict[str, Any]:
    """Params that make the configured model the table's vertical model.

    As in the paper it passes over its periods once and its teacher is fixed: more epochs, and a
    teacher that goes on learning, are a row's own settings.

    Raises:
        ConfigError: it takes the size of a teacher that is not there, or has no such param.
    """
    usual = default_values()
    fresh = [PREFIX + name for name in FRESH_KEYS if PREFIX + name in plain.params]
    changes = {name: usual[name] for name in fresh if plain.params[name] != usual[name]}
    changes["epochs"] = 1
    if vertical.size == "teacher":
        teacher = plain.load_teacher()
        if teacher is None:
            raise ConfigError(
                f"{plain.config_dir}: {plain.expid}: loopfm_teacher: expected the expid whose size "
                f"{vertical.name} takes, found null"
            )
        units = [teacher.params[name] for name in HIDDEN_UNITS if name in teacher.params]
        changes |= {"embedding_dim": teacher.params["embedding_dim"], HIDDEN_UNITS[0]: units[0]}
    changes = resolved({**changes, **vertical.set}, plain.params, vertical.name)
    if not vertical.own_sequences:
        changes |= without_columns(plain, set(plain.columns.names("sequence")))
    return changes


def changed_teacher(teacher: Experiment, row: TableRow, spec: DatasetSpec) -> Experiment:
    """The teacher with a row's own params; its fingerprint follows from them.

    Args:
        teacher: as configured.
        row: whose ``teacher`` says what differs.
        spec: of the prepared data set, which knows what the vertical view has.

    Raises:
        ConfigError: the teacher has no such param, or ``features`` has an unknown value.
    """
    if not row.teacher:
        return teacher
    changes = dict(row.teacher)
    features = changes.pop(FEATURES, None)
    changes = resolved(changes, teacher.params, f"{row.name}: teacher")
    if features == "vertical":
        hidden = {c.name for c in spec.columns if "vertical" not in c.views}
        hidden |= {s.name for s in spec.sequences if "vertical" not in s.views}
        changes |= without_columns(teacher, hidden)
    elif features is not None:
        raise ConfigError(
            f"{row.name}: teacher: features: expected 'vertical' or none, found {features!r}"
        )
    return replace(teacher, params={**teacher.params, **changes})


def with_teacher_identity(experiment: Experiment, teacher: Experiment, row: TableRow) -> Experiment:
    """Note in the params, and so in the record, which teacher the run learns from.

    A run of the same vertical params with another teacher is another run.
    """
    noted: dict[str, Any] = {TEACHER_FINGERPRINT: teacher_mark(teacher)}
    if row.teacher:
        noted[TEACHER_OVERRIDES] = row.teacher
    return replace(experiment, params={**experiment.params, **noted})


def without_columns(experiment: Experiment, dropped: set[str]) -> dict[str, Any]:
    """Params under which a model does without some of its features.

    The encoded data stay as they are (``use_features`` selects from them); pairs of target and
    sequence fields that name a dropped column go with it.

    Args:
        experiment: of the model.
        dropped: names of columns.

    Returns:
        Only the params that change; none if the model has none of the columns.
    """
    params = experiment.params
    used = _items(params.get("use_features")) or experiment.columns.names()
    kept = [name for name in used if name not in dropped]
    if len(kept) == len(used):
        return {}
    group = params.get("group_id") or DEFAULT_GROUP
    served = [name for name in (EVENT_ID, group) if name not in kept]
    specs = []
    for spec in params.get("feature_specs") or []:
        if not dropped.intersection(_items(spec["name"])):
            specs.append(spec)
    changes: dict[str, Any] = {"use_features": [*kept, *served], "feature_specs": specs or None}
    for key, value in params.items():
        if key.endswith("neg_seq_field") and dropped.intersection(_flat(value)):
            changes[key] = None
        elif key.endswith("sequence_field"):
            partner = f"{key.removesuffix('sequence_field')}target_field"
            pairs = zip(_items(params.get(partner)), _items(value), strict=True)
            left = [pair for pair in pairs if not dropped.intersection(_flat(pair))]
            changes[partner] = [target for target, _ in left] or None
            changes[key] = [sequence for _, sequence in left] or None
    return changes


def _items(value: Any) -> list[Any]:
    """A list as it is, nothing as an empty one, anything else as its only item."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _flat(value: Any) -> list[str]:
    """All names in nested lists and tuples."""
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in _flat(item)]
    return [] if value is None else [value]
