"""A model's own code fails: one message that says which model, what it needed and what to do.

Models of a zoo read their fields by the names that params give them, and say nothing helpful where
a name is missing: a ``KeyError: None`` at the first batch, a failed assertion, widths that differ.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuxictr.features import FeatureMap

from fuxictr_loopfm.config.zoo import field_role, named_fields
from fuxictr_loopfm.errors import ConfigError

FAILURES = (
    *(KeyError, TypeError, AttributeError, NotImplementedError, ValueError),
    *(AssertionError, IndexError, RuntimeError, ZeroDivisionError),
)
_FIELDS = "loopfm_named_fields"
_REMEDY = (
    "Name features of dataset_config.yaml there. A vertical view may list the teacher's ready-made "
    "sequences under loopfm_own_sequences: true; `loopfm benchmark` writes all of this where the "
    "data set has any (an own log gets one from `history` in its spec)."
)


def remember_fields(model: Any, params: Mapping[str, Any]) -> None:
    """Keep the params that name a model's fields, for the message if it fails."""
    object.__setattr__(model, _FIELDS, _fields_of(type(model), params))


@contextmanager
def explained_failures(model: Any, doing: str) -> Iterator[None]:
    """What a model's own code raises inside the block becomes one message.

    Args:
        model: a FuxiCTR model.
        doing: what is done inside, for the message, such as ``training``.
    Raises:
        ConfigError: an error with the model's own code in its traceback, which is logged.
    """
    try:
        yield
    except FAILURES as error:
        if is_out_of_memory(error) or not _comes_from(error, type(model)):
            raise
        logging.debug("%s failed", type(model).__name__, exc_info=True)
        name = type(model).__name__
        unmet = unmet_fields(getattr(model, _FIELDS, {}), model.feature_map)
        reason = f"model {name} failed in {doing} with {type(error).__name__}: {error}."
        if unmet:
            raise ConfigError(f"{reason} {_text(unmet, model.feature_map)}", _REMEDY) from error
        raise ConfigError(
            f"{reason} Its own code raised this ({_place(error, type(model))}) on the fields "
            f"{list(model.feature_map.features)} of {model.feature_map.dataset_id}.",
            "Change its params in the configuration, or its code.",
        ) from error


def constructor_problem(
    model_class: type, error: Exception, feature_map: FeatureMap, params: Mapping[str, Any]
) -> ConfigError | None:
    """The error of a constructor that misses the fields its params should name, None for others."""
    unmet = unmet_fields(_fields_of(model_class, params), feature_map)
    if not unmet:
        return None
    reason = (
        f"model {model_class.__name__}: its constructor raised {type(error).__name__}: {error}."
    )
    return ConfigError(f"{reason} {_text(unmet, feature_map)}", _REMEDY)


def unmet_fields(fields: Mapping[str, Any], feature_map: FeatureMap) -> list[str]:
    """What is wrong with each of the params that name fields.

    Args:
        fields: see ``named_fields``.
        feature_map: of the data set.
    """
    found = []
    for key, value in fields.items():
        names = _flat(value)
        if not names and field_role(key) in ("target", "sequence"):
            found.append(f"{key} is null")
        for name in names:
            kind = feature_map.features.get(name, {}).get("type")
            if kind is None:
                found.append(f"{key} names {name!r}, which is no feature")
            elif field_role(key) == "sequence" and kind != "sequence":
                found.append(f"{key} names {name!r}, a {kind} feature and no sequence")
    return found


def is_out_of_memory(error: Exception) -> bool:
    """True for torch's errors of full memory, which it raises as RuntimeError."""
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("out of memory", "can't allocate memory")
    )


def _fields_of(model_class: type, params: Mapping[str, Any]) -> dict[str, Any]:
    """The params that name fields and that a model's constructor takes by name."""
    taken = inspect.signature(model_class).parameters
    return {key: value for key, value in named_fields(params).items() if key in taken}


def _text(unmet: list[str], feature_map: FeatureMap) -> str:
    sequences = [n for n, spec in feature_map.features.items() if spec["type"] == "sequence"]
    return (
        f"It needs fields that {feature_map.dataset_id} does not give it: {'; '.join(unmet)} "
        f"(sequences there: {sequences or 'none'})."
    )


def _flat(value: Any) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in _flat(item)]
    return [] if value is None else [str(value)]


def _frames(error: Exception, model_class: type) -> list[traceback.FrameSummary]:
    """The frames of a traceback that lie in the folder of a model's code."""
    try:
        folder = Path(inspect.getfile(model_class)).resolve().parent
    except (OSError, TypeError):
        return []
    found = traceback.extract_tb(error.__traceback__)
    return [frame for frame in found if Path(frame.filename).resolve().parent == folder]


def _comes_from(error: Exception, model_class: type) -> bool:
    return bool(_frames(error, model_class))


def _place(error: Exception, model_class: type) -> str:
    frame = _frames(error, model_class)[-1]
    return f"{frame.filename}, line {frame.lineno}"
