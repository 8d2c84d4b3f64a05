"""What makes two runs the same: each list of what counts and what does not stands here.

name                 question                                               where it is written
run_fingerprints     was this very run made before?                         run records
compared_config      do two runs differ by more than seed and name?         rows of a leaderboard
teacher_identity     may trained weights be used again?                     folder of a teacher
compressor_identity  may a trained compressor be used again?                folder of a teacher
teacher_mark         does a row of a paper's table learn from another one?  configuration in records

They differ where the questions do, as each says. A change of what any of them returns makes
artifacts and records that exist strangers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuxictr_loopfm.compression.compressors import COMPRESSORS
from fuxictr_loopfm.config.model_code import package_code
from fuxictr_loopfm.config.names import PREFIX
from fuxictr_loopfm.config.zoo import find_model
from fuxictr_loopfm.data.pretrained import pretrained_identity
from fuxictr_loopfm.files.atomic import fingerprint, sha256_file

if TYPE_CHECKING:
    from fuxictr_loopfm.config.experiment import Experiment
    from fuxictr_loopfm.config.keys import LoopFMKeys

# Params that say where a run takes place and how loudly, not what is trained. No identity has them.
PLACE = ("gpu", "verbose", "model_root", "data_root", "num_workers")
# Of a run also the paths of its data, whose contents have fingerprints of their own, and the
# delivery of histories, which changes speed and no number.
_PATH_ENDINGS = ("_data", "_config", "_prepared", "_prepare", "_model_zoo", "_delivery")
# What only names a run, and the seed, in which alone the runs of one row differ. A record's data
# set is a field of its own.
_NAMES = ("seed", "expid", "model_id", "dataset_id")
# Raised when the same taps would read something else, so that older logs are not reused.
_TAPS_VERSION = 2
_PACKAGE = Path(__file__).resolve().parents[1]


def identity_config(experiment: Experiment) -> dict[str, Any]:
    """The resolved configuration without what depends on where it runs."""
    return {
        name: value
        for name, value in experiment.params.items()
        if name not in PLACE and not name.endswith(_PATH_ENDINGS)
    }


def run_fingerprints(experiment: Experiment, data: str) -> dict[str, str]:
    """What tells a run from every other one, in the entries of a record's ``fingerprints``.

    Args:
        data: fingerprint of the data set.
    """
    columns = experiment.columns.encoded
    return {
        "config": fingerprint({**identity_config(experiment), **pretrained_identity(columns)}),
        "data": data,
        "code": model_identity(experiment),
    }


def compared_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A record's configuration without what the runs of one leaderboard row may differ in.

    Args:
        config: what ``identity_config`` gave the record, so it has no paths.
    """
    ignored = {*PLACE, *_NAMES}
    return {name: value for name, value in config.items() if name not in ignored}


def teacher_identity(teacher: Experiment, view: str) -> dict[str, Any]:
    """Everything that determines a teacher's weights, and nothing else.

    No ``loopfm_*`` key does, but for a table optimizer or state that makes another optimizer, and
    its own name does not; a path such as ``train_data`` is kept. Of the code only the model's
    counts, and what it imports of the package to compute with: a release that trains alike reuses
    hours of training.

    Args:
        view: fingerprint of the encoded data it is trained on.
    """
    params = {
        name: value
        for name, value in teacher.params.items()
        if name not in (*PLACE, "model_id") and not name.startswith(PREFIX)
    }
    identity = {"view": view, "params": params, "source": source_identity(teacher)}
    if teacher.keys.table_optimizer == "lazy":
        identity["table_optimizer"] = "lazy"
    if teacher.keys.table_state != "full":
        identity["table_state"] = teacher.keys.table_state
    return identity


def compressor_identity(keys: LoopFMKeys) -> dict[str, Any]:
    """Everything that determines the compressor, given the teacher."""
    names = ("checkpoint", "taps", "dim", "compressor")
    return {
        "extraction_version": _TAPS_VERSION,
        **{name: getattr(keys, name) for name in names},
        **COMPRESSORS.settings_by_key(keys.compressor, keys.options),
    }


def teacher_mark(teacher: Experiment) -> str:
    """Which teacher a run learns from, known before any data are encoded.

    Unlike ``teacher_identity`` it knows the teacher's name and ``loopfm_*`` keys and nothing of the
    data: two marks may mean the same weights.
    """
    identity = {"params": identity_config(teacher), "source": source_identity(teacher)}
    return fingerprint(identity)


def source_identity(experiment: Experiment) -> str:
    """SHA-256 over the model's own source files and the modules of the package it is built of."""
    folder = find_model(experiment.params["model"], list(experiment.zoos))
    own = sorted(folder.rglob("*.py"))
    files = {path.relative_to(folder).as_posix(): path for path in own} | package_code(own)
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def model_identity(experiment: Experiment) -> str:
    """SHA-256 over the package's code and the model's, on both of which a run depends."""
    return code_identity(find_model(experiment.params["model"], list(experiment.zoos)))


def code_identity(model_folder: Path | str | None = None) -> str:
    """SHA-256 over the names and contents of the package's ``.py`` files.

    Args:
        model_folder: folder of the model's own code, counted in when given.
    """
    digest = hashlib.sha256()
    for root in [_PACKAGE] + ([Path(model_folder)] if model_folder is not None else []):
        for path in sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix()):
            name = path.relative_to(root).as_posix()
            digest.update(f"{name} {sha256_file(path)}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()
