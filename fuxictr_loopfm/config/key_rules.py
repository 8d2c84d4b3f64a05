"""What values the ``loopfm_*`` keys may take, alone and together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fuxictr_loopfm.compression.compressors import COMPRESSORS
from fuxictr_loopfm.compression.quantizer import CODECS, NoneCodec
from fuxictr_loopfm.config.keys import REGISTRIES, LoopFMKeys, known_options
from fuxictr_loopfm.config.names import PREFIX, split_names
from fuxictr_loopfm.distillation.registry import TRANSFERS
from fuxictr_loopfm.errors import ConfigError, did_you_mean
from fuxictr_loopfm.files.scalars import meant_bool, meant_number, meant_text
from fuxictr_loopfm.layers.registry import ENCODERS
from fuxictr_loopfm.prepared.known import MOST_SECONDS
from fuxictr_loopfm.prepared.parts import MAX_HISTORY

HISTORY_COLUMNS = ("embedding", "label", "log_age", "ids", "length")
CHOICES: dict[str, tuple[str, ...]] = {
    "current": ("none", "embedding", "soft_label"),
    "control": ("none", "shuffled_users"),
    "checkpoint": ("fixed", "every_period"),
    "delivery": ("ragged", "packed", "padded"),
    "view": ("vertical", "teacher"),
    "table_optimizer": ("auto", "sparse", "dense", "lazy"),
    "table_state": ("full", "row"),
    "train_on": ("vertical", "all"),
}
AT_LEAST_ONE = ("dim", "max_len", "encoder_dim", "num_shards", "threads", "fresh_epochs")
NOT_NEGATIVE = ("delay_seconds", "label_delay_seconds", "replay")
FRESH = ("fresh_epochs", "fresh_lr_factor", "replay", "alignment")
SECONDS = ("delay_seconds", "label_delay_seconds", "window_seconds")


def read_keys(params: Mapping[str, Any], where: str) -> LoopFMKeys:
    """Read and check the ``loopfm_*`` entries of FuxiCTR params.

    Args:
        params: FuxiCTR params; other keys are ignored.
        where: names the file and expid in messages.
    Raises:
        ConfigError: unknown keys (with the nearest known one), wrong types or values.
    """
    own, options = _own_keys(), known_options()
    known = {**own, **{name: option.annotation for name, option in options.items()}}
    problems: list[str] = []
    values: dict[str, Any] = {}
    for full_name, value in params.items():
        if not str(full_name).startswith(PREFIX):
            continue
        name = full_name[len(PREFIX) :]
        if name not in known:
            hint = did_you_mean(name, known, PREFIX) or f"; known: {sorted(known)}"
            problems.append(f"{where}: unknown key {full_name}{hint}")
            continue
        problem, values[name] = coerced(name, value, known[name])
        if problem:
            problems.append(f"{where}: {full_name}: {problem}")
    if problems:
        raise ConfigError(problems)
    chosen = {name: values.pop(name, option.default) for name, option in options.items()}
    keys = LoopFMKeys(**values, options=chosen)
    problems = [f"{where}: {text}" for text in problems_of(keys)]
    if problems:
        raise ConfigError(problems)
    return keys


def _own_keys() -> dict[str, str]:
    """Type of each key that is no option."""
    return {item.name: str(item.type) for item in fields(LoopFMKeys) if item.name != "options"}


def choices() -> dict[str, tuple[str, ...]]:
    """The values of every key that names one of several, with what is registered."""
    registered = {registry.key: tuple(registry) for registry in REGISTRIES}
    for key in TRANSFERS:
        registered[key] = ("none", *registered[key])
    # A store without embeddings is what a run without a teacher gets; no one asks for it.
    registered["codec"] = tuple(kind for kind in CODECS if kind != NoneCodec.kind)
    return {**registered, **CHOICES}


def coerced(name: str, value: Any, annotation: Any) -> tuple[str | None, Any]:
    """(problem or None, value); whole floats pass for ints and ints for floats."""
    kind, _, optional = str(annotation).partition(" | ")
    if value is None:
        return (None, None) if optional else (f"expected {kind}, found null", None)
    if kind == "bool" or isinstance(value, bool):
        good = kind == "bool" and isinstance(value, bool)
        hint = meant_bool(value) if kind == "bool" else meant_text(value) if kind == "str" else ""
        return (None if good else f"expected {kind}, found {value!r}{hint}"), value
    if kind == "int" and isinstance(value, (int, float)) and float(value).is_integer():
        return None, int(value)
    if kind == "float" and isinstance(value, (int, float, str)):
        # YAML 1.1 reads 1e-3 without a dot as a string.
        try:
            number = float(value)
        except ValueError:
            return f"expected a number, found {value!r}", value
        return (
            None if math.isfinite(number) else f"expected a finite number, found {value}"
        ), number
    if kind == "str" and isinstance(value, str):
        return None, value
    hint = meant_text(value) if kind == "str" else meant_number(value)
    return f"expected {kind}, found {value!r}{hint}", value


def problems_of(keys: LoopFMKeys) -> list[str]:
    """Everything wrong with a set of keys; empty if nothing is."""
    problems = _range_problems(keys)
    if keys.window_seconds is not None and keys.window_seconds <= keys.delay_seconds:
        problems.append(
            f"{PREFIX}window_seconds: expected more than {PREFIX}delay_seconds="
            f"{keys.delay_seconds}, found {keys.window_seconds}"
        )
    if keys.table_state == "row" and keys.table_optimizer == "dense":
        problems.append(
            f"{PREFIX}table_state: expected full with {PREFIX}table_optimizer=dense, whose state "
            "is torch's, found 'row'"
        )
    problems += _fresh_problems(keys)
    if keys.compressor in COMPRESSORS:
        problems += COMPRESSORS[keys.compressor].problems(keys.compressor_spec)
    if keys.encoder in ENCODERS:
        problems += ENCODERS[keys.encoder].problems(keys.encoder_spec)
    for column in keys.columns:
        if column not in HISTORY_COLUMNS:
            problems.append(
                f"{PREFIX}history: expected columns among {list(HISTORY_COLUMNS)} joined by "
                f"'+', found {column!r}{did_you_mean(column, HISTORY_COLUMNS)}"
            )
    if keys.prefix_dim is not None and not 1 <= keys.prefix_dim <= keys.dim:
        problems.append(
            f"{PREFIX}prefix_dim: expected 1 to {PREFIX}dim={keys.dim}, found {keys.prefix_dim}"
        )
    if keys.view == "teacher":
        problems += _teacher_problems(keys)
    elif keys.train_periods is not None:
        problems.append(
            f"{PREFIX}train_periods: expected null for a vertical model, found "
            f"{keys.train_periods}; it says how many periods a teacher's expid learns"
        )
    if keys.train_on == "all" and keys.needs_teacher:
        problems.append(
            f"{PREFIX}train_on: expected vertical for a run that reads what a teacher logged, "
            f"which is nothing of its own training periods; found {keys.train_on!r}"
        )
    if keys.needs_teacher and keys.teacher is None:
        problems.append(
            f"{PREFIX}teacher: expected the expid of a foundation model, because "
            f"{PREFIX}kd={keys.kd} and {PREFIX}history={keys.history}; found null"
        )
    return problems


def _fresh_problems(keys: LoopFMKeys) -> list[str]:
    """What only a teacher that goes on learning can have."""
    default = LoopFMKeys()
    changed = [name for name in FRESH if getattr(keys, name) != getattr(default, name)]
    if keys.checkpoint == "fixed":
        return [
            f"{PREFIX}{name}: expected {getattr(default, name)} with {PREFIX}checkpoint: fixed, "
            f"found {getattr(keys, name)!r}; set {PREFIX}checkpoint: every_period"
            for name in changed
        ]
    if keys.alignment != "none" and split_names(keys.taps) == ("soft_label",):
        return [
            f"{PREFIX}alignment: expected none for {PREFIX}taps: soft_label, which has no space "
            f"that could drift, found {keys.alignment!r}"
        ]
    return []


def _teacher_problems(keys: LoopFMKeys) -> list[str]:
    """What a teacher's expid cannot have."""
    given = (*TRANSFERS, "current", "control")
    problems = [
        f"{PREFIX}{name}: expected none for a teacher's expid, found {getattr(keys, name)!r}; "
        "transfer goes to vertical models"
        for name in given
        if getattr(keys, name) != "none"
    ]
    if keys.reads_embeddings and keys.backfill:
        problems.append(
            f"{PREFIX}backfill: expected false for a teacher that reads past embeddings, found "
            "true: they would know the labels of the periods it trains on. Set "
            f"{PREFIX}train_periods of the other teacher instead"
        )
    return problems


def _range_problems(keys: LoopFMKeys) -> list[str]:
    """Values outside the range of their own key."""
    problems = []
    for name, allowed in choices().items():
        found = getattr(keys, name)
        if found not in allowed:
            problems.append(
                f"{PREFIX}{name}: expected one of {list(allowed)}, found {found!r}"
                + did_you_mean(found, allowed)
            )
    for name in AT_LEAST_ONE:
        if getattr(keys, name) < 1:
            problems.append(f"{PREFIX}{name}: expected at least 1, found {getattr(keys, name)}")
    if keys.fresh_lr_factor <= 0:
        problems.append(
            f"{PREFIX}fresh_lr_factor: expected more than 0, found {keys.fresh_lr_factor}"
        )
    if keys.train_periods is not None and keys.train_periods < 1:
        problems.append(f"{PREFIX}train_periods: expected 1 or more, found {keys.train_periods}")
    for name in NOT_NEGATIVE:
        if getattr(keys, name) < 0:
            problems.append(f"{PREFIX}{name}: expected 0 or more, found {getattr(keys, name)}")
    for name, option in known_options().items():
        problem = option.problem(keys.options[name])
        if problem:
            problems.append(f"{PREFIX}{name}: {problem}")
    if keys.max_len > MAX_HISTORY:
        problems.append(f"{PREFIX}max_len: expected at most {MAX_HISTORY}, found {keys.max_len}")
    problems += [
        f"{PREFIX}{name}: expected at most {MOST_SECONDS:g} seconds, found {getattr(keys, name):g}"
        for name in SECONDS
        if (getattr(keys, name) or 0) > MOST_SECONDS
    ]
    if not split_names(keys.taps):
        problems.append(
            f"{PREFIX}taps: expected layers of the teacher joined by '+', found {keys.taps!r}"
        )
    return problems
