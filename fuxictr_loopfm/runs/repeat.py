"""What a record says beyond metrics and configuration, so that it alone is enough to run again.

entry    meaning
kind     "vertical", "teacher" or "plain": which run it was; "logged": a teacher's log, evaluated
device   "cpu" or "cuda"; sums on a GPU are in no fixed order
zoo      "own" if the model is one of the checkout's model_zoo, else "given"
tuples   places of lists in the configuration that were tuples, which JSON has not
teacher  expid, configuration, zoo, tuples and source (SHA-256 of the model's code) of the teacher;
         null if the run read none; an entry teacher of its own if that one read another's
origin   where the data came from: the log's source and script, or files and their SHA-256
log      fingerprint of the teacher's log, by content; "" without
weights  SHA-256 of the trained model's tensors, first 16 hex digits
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.identity import identity_config, source_identity
from fuxictr_loopfm.config.zoo import find_model
from fuxictr_loopfm.files.atomic import fingerprint
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import plain
from fuxictr_loopfm.store.extraction_log import ExtractionManifest

VERTICAL, TEACHER, PLAIN, LOGGED = "vertical", "teacher", "plain", "logged"
OWN, GIVEN = "own", "given"
_DIGITS = 16


def repeat_notes(
    experiment: Experiment,
    model: Any,
    *,
    kind: str,
    origin: Mapping[str, Any],
    teacher: Experiment | None = None,
    log: str = "",
) -> dict[str, Any]:
    """The ``repeat`` of a record.

    Args:
        experiment: what was run.
        model: the trained model.
        kind: ``vertical``, ``teacher``, ``plain`` or ``logged``.
        origin: where the data came from.
        teacher: the teacher's experiment, if the run read what it logged.
        log: fingerprint of that log.
    """
    noted: dict[str, Any] = {
        "kind": kind,
        "device": torch.device(model.device).type,
        "zoo": _zoo_of(experiment),
        "tuples": tuple_places(identity_config(experiment)),
        "teacher": None,
        "origin": dict(origin),
        "log": log,
        "weights": weights_digest(model),
    }
    if teacher is not None:
        noted["teacher"] = teacher_note(teacher)
    return noted


def teacher_note(teacher: Experiment) -> dict[str, Any]:
    """The entry ``teacher`` of a run that read what this experiment logged."""
    config = identity_config(teacher)
    upstream = {} if teacher.upstream is None else {"teacher": teacher_note(teacher.upstream)}
    return {
        **upstream,
        "expid": teacher.expid,
        "config": config,
        "zoo": _zoo_of(teacher),
        "tuples": tuple_places(config),
        "source": source_identity(teacher),
    }


def is_noted_teacher(noted: Mapping[str, Any], teacher: Experiment) -> bool:
    """Did the run with this ``repeat`` learn from a teacher of this configuration and code?"""
    found = noted.get("teacher")
    if not isinstance(found, Mapping):
        return False
    config = plain(identity_config(teacher))
    same = found.get("config") == config and found.get("source") == source_identity(teacher)
    if teacher.upstream is None:
        return same and found.get("teacher") is None
    return same and is_noted_teacher(found, teacher.upstream)


def origin_of(prepared: PreparedDataset, experiment: Experiment) -> dict[str, Any]:
    """Where a prepared data set came from, in names that hold on other machines."""
    script = experiment.keys.prepare
    return {"source": prepared.spec.source, "script": Path(script).name if script else None}


def log_fingerprint(manifest: ExtractionManifest) -> str:
    """Identifies a teacher's log by content: of the checksums of its parts."""
    return fingerprint([part.sha256 for part in manifest.parts])


def weights_digest(model: Any) -> str:
    """16 hex digits over names, shapes, types and bytes of a model's tensors, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()[:_DIGITS]


def tuple_places(value: Any, here: tuple[str | int, ...] = ()) -> list[list[str | int]]:
    """Where in nested mappings and lists the tuples are, as lists of keys and positions."""
    found: list[list[str | int]] = [list(here)] if isinstance(value, tuple) else []
    if isinstance(value, Mapping):
        for name, item in value.items():
            found += tuple_places(item, (*here, str(name)))
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            found += tuple_places(item, (*here, position))
    return found


def with_tuples(
    value: Any, places: Collection[tuple[str | int, ...]], here: tuple[str | int, ...] = ()
) -> Any:
    """A copy of plain data in which the lists at ``places`` are tuples again."""
    if isinstance(value, Mapping):
        return {name: with_tuples(item, places, (*here, name)) for name, item in value.items()}
    if isinstance(value, list):
        items = [with_tuples(item, places, (*here, n)) for n, item in enumerate(value)]
        return tuple(items) if here in places else items
    return value


def _zoo_of(experiment: Experiment) -> str:
    """Whether the model is ours, which every checkout has, or of a folder of the user's."""
    model, checkout = experiment.params["model"], Checkout.find_if_any()
    folder = find_model(model, list(experiment.zoos))
    if checkout is None:
        return GIVEN
    return OWN if folder.resolve().is_relative_to((checkout.zoo / model).resolve()) else GIVEN
