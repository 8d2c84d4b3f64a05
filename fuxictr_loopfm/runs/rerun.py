"""Run again what a record tells of, from the record alone, and compare to the last bit.

A record holds the resolved configuration of the run and of its teacher, so no configuration folder
is needed: the experiments are built from it. What it cannot hold are the data; those are looked for
by their id and must have the recorded fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.identity import identity_config
from fuxictr_loopfm.config.zoo import import_project
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.atomic import fingerprint, scratch_dir
from fuxictr_loopfm.host import distributed
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.records.environment import collect_environment
from fuxictr_loopfm.records.record import METRICS, RunRecord
from fuxictr_loopfm.runs.logged_teacher import run_logged_teacher
from fuxictr_loopfm.runs.plain import FILES, run_plain
from fuxictr_loopfm.runs.repeat import GIVEN, LOGGED, OWN, PLAIN, TEACHER, VERTICAL, with_tuples
from fuxictr_loopfm.runs.rerun_data import plain_files, prepared_data
from fuxictr_loopfm.runs.teacher import run_teacher
from fuxictr_loopfm.runs.vertical import run_vertical

VERSIONS = ("python", "torch", "fuxictr", "numpy", "cpu")
# Metrics first; then what tells at which stage two runs begin to differ.
_FINGERPRINTS = ("teacher", "store")
_CONTENTS = ("log", "weights")


@dataclass(frozen=True)
class Places:
    """What a record does not say, because it differs from machine to machine.

    Attributes:
        checkout: models, scripts and data.
        data: raw folder, or a prepared one; None is where the checkout keeps it.
        data_root: artifacts are reused and built there; None is the checkout's ``data``.
        zoo: a FuxiCTR ``model_zoo``, for a model that came from one.
        gpu: GPU index, -1 for the CPU.
        fresh: build every artifact anew, in a folder that is gone afterwards.
    """

    checkout: Checkout
    data: Path | None = None
    data_root: Path | None = None
    zoo: Path | None = None
    gpu: int = -1
    fresh: bool = False


@dataclass(frozen=True)
class Compared:
    """One value of the record and of the rerun."""

    name: str
    recorded: str
    found: str

    @property
    def equal(self) -> bool:
        """To the last bit: a float's text is the shortest that tells it from every other."""
        return self.recorded == self.found


def rerun(record: RunRecord, places: Places) -> RunRecord:
    """Run again; returns the new record, under the recorded command.

    Raises:
        ConfigError: the record is too old or was altered, or its model is not there.
        DataError: the data are missing or not those of the record.
    """
    _require_repeatable(record)
    root = places.data_root or places.checkout.data_root
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_dir(root))
        paths: dict[str, Any] = {
            "model_root": str(scratch / "checkpoints"),
            "data_root": str(scratch / "data" if places.fresh else root.resolve()),
        }
        if record.repeat["kind"] == PLAIN:
            found = plain_files(record, places.checkout, places.data)
            paths |= {name: str(found[name]) for name in FILES}
        else:
            prepared = prepared_data(record, places.checkout, places.data)
            paths["loopfm_prepared"] = str(prepared.folder.resolve())
        return replace(_run(record, places, paths), paper_table=record.paper_table)


def _run(record: RunRecord, places: Places, paths: Mapping[str, Any]) -> RunRecord:
    noted = record.repeat
    experiment = _experiment(record.config, noted, paths, places, f"record {record.expid}")
    found = fingerprint(identity_config(experiment))
    if found != record.fingerprints["config"]:
        raise ConfigError(
            f"record {record.expid}: config: expected fingerprint "
            f"{record.fingerprints['config']}, found {found}: the configuration in the record was "
            "changed. Take an unchanged copy of the record."
        )
    if noted["kind"] == PLAIN:
        return run_plain(experiment, command=record.command)[0]
    teacher = _noted_teacher(noted, paths, places, f"record {record.expid}")
    if noted["kind"] == TEACHER:
        return run_teacher(replace(experiment, upstream=teacher), command=record.command)[0]
    workspace = Workspace(experiment, teacher)
    if noted["kind"] == LOGGED:
        named = {"model_name": record.model, "command": record.command}
        return run_logged_teacher(experiment, workspace, **named)[0]
    made, _, _ = run_vertical(
        experiment,
        workspace,
        model_name=record.model,
        command=record.command,
        method=record.method,
    )
    return made


def _noted_teacher(
    noted: Mapping[str, Any], paths: Mapping[str, Any], places: Places, where: str
) -> Experiment | None:
    """The teacher that a record or another teacher's note names, with its own; None without one."""
    own = noted.get("teacher")
    if own is None:
        return None
    where = f"{where}: teacher {own['expid']}"
    upstream = _noted_teacher(own, paths, places, where)
    return replace(_experiment(own["config"], own, paths, places, where), upstream=upstream)


def _experiment(
    config: Mapping[str, Any],
    noted: Mapping[str, Any],
    paths: Mapping[str, Any],
    places: Places,
    where: str,
) -> Experiment:
    """The experiment of a recorded configuration, on this machine."""
    params = with_tuples(config, {tuple(place) for place in noted["tuples"]})
    params |= {**paths, "gpu": places.gpu, "verbose": 0, "num_workers": 0}
    if noted["zoo"] == GIVEN:
        if places.zoo is None:
            raise ConfigError(
                f"{where}: model {config.get('model')}: expected --zoo, the model_zoo folder that "
                "the model came from, found none"
            )
        import_project(places.zoo.resolve())  # It may register what the configuration names.
        params["loopfm_model_zoo"] = str(places.zoo.resolve())
    return Experiment.from_params(
        params,
        where,
        base_dir=places.checkout.base_dir(str(config.get("model"))),
        zoo=places.checkout.zoo,
        config_dir=places.checkout.root,
    )


def _require_repeatable(record: RunRecord) -> None:
    where, noted = f"record {record.expid}", record.repeat
    if not noted:
        raise ConfigError(
            f"{where}: expected an entry repeat, found none: the release that wrote it did not "
            "note the teacher's configuration, the tuples of its own, and where the data came "
            f"from. Repeat it by its command: {record.command}"
        )
    if record.world_size > 1 or distributed.world_size() > 1:
        raise ConfigError(
            f"{where}: world_size: expected 1, found {record.world_size}: processes that train "
            f"together are started by torchrun. Repeat it by its command: {record.command}"
        )
    parts: list[Mapping[str, Any]] = [noted]
    teacher = noted.get("teacher")
    while isinstance(teacher, Mapping):
        parts.append(teacher)
        teacher = teacher.get("teacher")
    valid = (
        noted.get("kind") in (VERTICAL, TEACHER, PLAIN, LOGGED)
        and all(isinstance(noted.get(name), str) for name in _CONTENTS)
        and isinstance(noted.get("origin"), Mapping)
        and teacher is None
        and all(part.get("zoo") in (OWN, GIVEN) for part in parts)
        and all(_is_places(part.get("tuples")) for part in parts)
        and all(isinstance(part.get("config"), Mapping) for part in parts[1:])
    )
    if not valid:
        raise ConfigError(
            f"{where}: repeat: expected what a run notes, found {str(dict(noted))[:200]}. Take an "
            f"unchanged copy of the record, or repeat it by its command: {record.command}"
        )


def _is_places(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(place, list) and all(isinstance(step, (str, int)) for step in place)
        for place in value
    )


def compared(recorded: RunRecord, found: RunRecord) -> list[Compared]:
    """Metrics, parameters, artifacts and weights side by side."""
    rows = [
        Compared(name, repr(recorded.metrics.get(name)), repr(found.metrics.get(name)))
        for name in METRICS
        if name in recorded.metrics or name in found.metrics
    ]
    rows.append(Compared("parameters", str(recorded.params), str(found.params)))
    prints = [
        (name, recorded.fingerprints[name], found.fingerprints[name]) for name in _FINGERPRINTS
    ]
    prints += [(name, recorded.repeat[name], found.repeat[name]) for name in _CONTENTS]
    return rows + [Compared(*row) for row in prints if row[1] or row[2]]


def differences(record: RunRecord, places: Places) -> list[str]:
    """What is another here than where the record was made, and may explain other results."""
    environment, found = record.environment, collect_environment()
    notes = [
        f"{name}: recorded {environment.get(name)}, here {found[name]}"
        for name in VERSIONS
        if environment.get(name) and environment.get(name) != found[name]
    ]
    device = record.repeat.get("device")
    here = "cuda" if places.gpu >= 0 else "cpu"
    if device is not None and (device != here or device == "cuda"):
        notes.append(f"device: recorded {device}, here {here}; a GPU sums in no fixed order")
    return notes


def code_differs(recorded: RunRecord, found: RunRecord) -> str | None:
    """The line that says so, if package or model are of other code."""
    if recorded.fingerprints["code"] == found.fingerprints["code"]:
        return None
    commit = recorded.environment.get("git_commit")
    return (
        f"code: recorded {recorded.fingerprints['code'][:16]}"
        + (f" (commit {commit})" if commit else "")
        + f", here {found.fingerprints['code'][:16]}"
    )
