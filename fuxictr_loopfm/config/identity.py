"""What makes two runs the same: each list of what counts and what does not stands here.

name                 question                                               where it is written
run_fingerprints     was this very run made before?                         run records
compared_config      do two runs differ by more than seed and name?         rows of a leaderboard
teacher_identity     may trained weights be used again?                     folder of a teacher
compressor_identity  may a trained compressor be used again?                folder of a teacher
fresh_identity       may the log of a teacher that goes on learning be used?   folder of a log
teacher_mark         does a row of a paper's table learn from another one?  configuration in records

They differ where the questions do, as each says. A change of what any of them returns makes
artifacts and records that exist strangers.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuxictr_loopfm.alignment.alignments import ALIGNMENTS
from fuxictr_loopfm.compression.compressors import COMPRESSORS
from fuxictr_loopfm.compression.quantizer import CODECS
from fuxictr_loopfm.config.model_code import package_code
from fuxictr_loopfm.config.names import PREFIX
from fuxictr_loopfm.config.zoo import find_model
from fuxictr_loopfm.data.column_rules import HISTORY_TYPE
from fuxictr_loopfm.data.pretrained import pretrained_identity
from fuxictr_loopfm.files.atomic import fingerprint, sha256_file
from fuxictr_loopfm.layers.registry import ENCODERS

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
# What of a teacher's keys says what its histories hold and how they are encoded.
_HISTORY_KEYS = (
    *("history", "key", "max_len", "delay_seconds", "window_seconds", "label_delay_seconds"),
    *("event_filter", "id_columns", "query_columns", "encoder", "encoder_dim"),
)
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


def teacher_identity(teacher: Experiment, view: str, upstream: str | None = None) -> dict[str, Any]:
    """Everything that determines a teacher's weights, and nothing else.

    No ``loopfm_*`` key does, but for those of its histories, the periods it learns, and a table
    optimizer or state that makes another optimizer; its own name does not. A path such as
    ``train_data`` is kept. Of the code only the model's counts, and what it imports of the package
    to compute with: a release that trains alike reuses hours of training.

    Args:
        view: fingerprint of the encoded data it is trained on.
        upstream: name of the extraction log whose embeddings its history reads; it stands for the
            other teacher, its compressor, and the periods that were logged.
    """
    params = {
        name: value
        for name, value in teacher.params.items()
        if name not in (*PLACE, "model_id") and not name.startswith(PREFIX)
    }
    if not teacher.keys.columns:
        # A history that nobody reads changes no weight.
        params["feature_cols"] = _without_histories(params.get("feature_cols"))
    identity: dict[str, Any] = {"view": view, "params": params, "source": source_identity(teacher)}
    if teacher.keys.table_optimizer == "lazy":
        identity["table_optimizer"] = "lazy"
    if teacher.keys.table_state != "full":
        identity["table_state"] = teacher.keys.table_state
    if teacher.keys.train_periods is not None:
        identity["train_periods"] = teacher.keys.train_periods
    if teacher.keys.columns:
        identity["history"] = history_identity(teacher.keys, upstream)
    return identity


def history_identity(keys: LoopFMKeys, upstream: str | None) -> dict[str, Any]:
    """Everything that determines a teacher's histories and what encodes them, given the log.

    Args:
        keys: the teacher's.
        upstream: see ``teacher_identity``.
    """
    identity = {name: getattr(keys, name) for name in _HISTORY_KEYS}
    identity |= ENCODERS.settings_by_key(keys.encoder, keys.options)
    identity["code"] = _encoder_code(keys.encoder)
    if keys.reads_embeddings:
        identity |= {"upstream": upstream, "codec": keys.codec, "prefix_dim": keys.prefix_dim}
        identity |= CODECS.settings_by_key(keys.codec, keys.options)
    return identity


def _without_histories(columns: Any) -> Any:
    entries = columns if isinstance(columns, list) else []
    if not any(entry.get("type") == HISTORY_TYPE for entry in entries):
        return columns
    return [entry for entry in entries if entry.get("type") != HISTORY_TYPE]


def _encoder_code(kind: str) -> str:
    """SHA-256 over the modules that turn the events of a history into a field."""
    own = [Path(inspect.getfile(ENCODERS.require(kind))), _PACKAGE / "host" / "shared_history.py"]
    files = {path.name: path for path in own} | package_code(own)
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def compressor_identity(keys: LoopFMKeys) -> dict[str, Any]:
    """Everything that determines the compressor, given the teacher."""
    names = ("checkpoint", "taps", "dim", "compressor")
    return {
        "extraction_version": _TAPS_VERSION,
        **{name: getattr(keys, name) for name in names},
        **COMPRESSORS.settings_by_key(keys.compressor, keys.options),
    }


def fresh_identity(keys: LoopFMKeys, label_delay_seconds: float) -> dict[str, Any]:
    """How a teacher goes on learning after its compressor was fitted; empty for the plain way.

    Args:
        keys: of the experiment that wants the log.
        label_delay_seconds: what a period's labels wait for.
    """
    if keys.checkpoint == "fixed":
        return {}
    plain = type(keys)()
    names = ("fresh_epochs", "fresh_lr_factor", "replay")
    identity = {n: getattr(keys, n) for n in names if getattr(keys, n) != getattr(plain, n)}
    if label_delay_seconds > 0:
        identity["label_delay_seconds"] = label_delay_seconds
    if keys.alignment != "none":
        identity["alignment"] = keys.alignment
        identity |= ALIGNMENTS.settings_by_key(keys.alignment, keys.options)
    return identity


def teacher_mark(teacher: Experiment) -> str:
    """Which teacher a run learns from, known before any data are encoded.

    Unlike ``teacher_identity`` it knows the teacher's name and ``loopfm_*`` keys and nothing of the
    data: two marks may mean the same weights.
    """
    identity = {"params": identity_config(teacher), "source": source_identity(teacher)}
    if teacher.upstream is not None:
        identity["upstream"] = teacher_mark(teacher.upstream)
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
