"""The flat ``loopfm_*`` configuration keys: names, defaults, ranges, and what a method is.

Keys are flat so that FuxiCTR's autotuner can sweep them. An unknown ``loopfm_`` key is refused,
because FuxiCTR models swallow unknown keyword arguments without a word.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.spec import UNITS_PER_SECOND, SequenceSpec

PREFIX = "loopfm_"
HISTORY_COLUMNS = ("embedding", "label", "log_age", "ids", "length")
CHOICES: dict[str, tuple[str, ...]] = {
    "kd": ("none", "aux_head", "single_head", "aux_head_adapter", "privileged"),
    "hint": ("none", "fitnets", "crd"),
    "current": ("none", "embedding", "soft_label"),
    "control": ("none", "shuffled_users"),
    "checkpoint": ("fixed", "every_period"),
    "encoder": ("mean", "sum", "din", "dmin", "self_attention"),
    "compressor": ("co_train", "post_hoc", "untrained", "random_projection"),
    "codec": ("f32", "f16", "int8", "int4_uniform", "int4_kmeans"),
    "view": ("vertical", "teacher"),
}
KD_NAMES = {
    "aux_head": "KD",
    "single_head": "KD(single head)",
    "aux_head_adapter": "KD(adapter)",
    "privileged": "PFD",
}
HINT_NAMES = {"fitnets": "FitNets", "crd": "CRD-InfoNCE"}
AT_LEAST_ONE = (
    *("dim", "max_len", "encoder_dim", "encoder_heads", "encoder_layers", "compressor_hidden"),
    *("compressor_epochs", "num_shards", "threads"),
)
NOT_NEGATIVE = (
    *("delay_seconds", "label_delay_seconds", "kd_weight", "kd_gradient_scale", "kd_label_scale"),
    *("compressor_lr", "encoder_dropout", "hint_weight"),
)


@dataclass(frozen=True)
class LoopFMKeys:
    """Every ``loopfm_*`` key, without its prefix. Times are seconds; null means "not set".

    Attributes:
        view: which feature columns and periods the data set stands for.
        prepared, prepare, raw_data: folder of the prepared data set, the script that makes it and
            the folder of the raw log it reads.
        model_zoo: a FuxiCTR ``model_zoo`` folder to take the model class from.
        teacher, teacher_config: expid of the foundation model and the folder that defines it.
        taps: teacher layers to log, joined by ``+``.
        dim, compressor, compressor_hidden, compressor_lr, compressor_epochs, matryoshka_dims: the
            autoencoder; ``compressor_epochs`` counts for ``post_hoc`` only.
        codec: how a compressed embedding is stored.
        backfill: also log the periods that the teacher was trained on.
        history: columns of the past events, joined by ``+``; null means no history.
        key, max_len, delay_seconds, window_seconds, label_delay_seconds, event_filter: the rule.
        id_columns, query_columns: null means the data set's item columns.
        encoder, encoder_dim, encoder_heads, encoder_layers, encoder_dropout: the history encoder.
        prefix_dim: read only the first dimensions of the embeddings (Matryoshka).
        kd, kd_weight, kd_label_scale, kd_gradient_scale, kd_trunk: distillation, ExFM eqs (3)-(7),
            or from a head with privileged input.
        hint, hint_weight, hint_temperature: loss between trunk and the current teacher embedding.
        current: a field from the current impression's teacher output (an oracle at serving time).
        checkpoint: log with one teacher, or go on training it after every logged period.
        control: ``shuffled_users`` gives each user the history of another, at the same time.
        validation: train like BARS, with early stopping on the last training period.
        num_shards: files of the event store.
        threads: CPU threads of torch. One is the default because sums are then taken in the same
            order on every machine, and because small batches lose to waiting when cores are shared.
    """

    view: str = "vertical"
    prepared: str | None = None
    prepare: str | None = None
    raw_data: str | None = None
    model_zoo: str | None = None
    teacher: str | None = None
    teacher_config: str | None = None
    taps: str = "hidden_0"
    dim: int = 32
    compressor: str = "co_train"
    compressor_hidden: int = 256
    compressor_lr: float = 1e-3
    compressor_epochs: int = 2
    matryoshka_dims: str | None = None
    codec: str = "int4_kmeans"
    backfill: bool = False
    history: str | None = None
    key: str | None = None
    max_len: int = 30
    delay_seconds: float = 0.0
    window_seconds: float | None = None
    label_delay_seconds: float = 0.0
    event_filter: str | None = None
    id_columns: str | None = None
    query_columns: str | None = None
    encoder: str = "mean"
    encoder_dim: int = 32
    encoder_heads: int = 4
    encoder_layers: int = 1
    encoder_dropout: float = 0.0
    prefix_dim: int | None = None
    kd: str = "none"
    kd_weight: float = 1.0
    kd_label_scale: float = 1.0
    kd_gradient_scale: float = 1.0
    kd_trunk: str | None = None
    hint: str = "none"
    hint_weight: float = 0.1
    hint_temperature: float = 0.1
    current: str = "none"
    checkpoint: str = "fixed"
    control: str = "none"
    validation: bool = False
    num_shards: int = 1
    threads: int = 1

    @classmethod
    def from_params(cls, params: Mapping[str, Any], where: str) -> LoopFMKeys:
        """Read and check the ``loopfm_*`` entries of FuxiCTR params.

        Args:
            params: FuxiCTR params; other keys are ignored.
            where: names the file and expid in messages.
        Raises:
            ConfigError: unknown keys (with the nearest known one), wrong types or values.
        """
        known = {field.name: field for field in fields(cls)}
        problems, values = [], {}
        for full_name, value in params.items():
            if not str(full_name).startswith(PREFIX):
                continue
            name = full_name[len(PREFIX) :]
            if name not in known:
                near = difflib.get_close_matches(full_name, [PREFIX + k for k in known], n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {sorted(known)}"
                problems.append(f"{where}: unknown key {full_name}; {hint}")
                continue
            problem, values[name] = _coerce(name, value, known[name].type)
            if problem:
                problems.append(f"{where}: {full_name}: {problem}")
        if problems:
            raise ConfigError(problems)
        keys = cls(**values)
        problems = [f"{where}: {text}" for text in keys._problems()]
        if problems:
            raise ConfigError(problems)
        return keys

    def _problems(self) -> list[str]:
        problems = self._range_problems()
        if self.window_seconds is not None and self.window_seconds <= self.delay_seconds:
            problems.append(
                f"{PREFIX}window_seconds: expected more than {PREFIX}delay_seconds="
                f"{self.delay_seconds}, found {self.window_seconds}"
            )
        for part in split_names(self.matryoshka_dims):
            if not part.isdecimal() or not 1 <= int(part) <= self.dim:
                problems.append(
                    f"{PREFIX}matryoshka_dims: expected widths of 1 to {PREFIX}dim={self.dim} "
                    f"joined by '+', found {part!r}"
                )
        if self.encoder_dim % max(self.encoder_heads, 1):
            problems.append(
                f"{PREFIX}encoder_dim: expected a multiple of {PREFIX}encoder_heads="
                f"{self.encoder_heads}, found {self.encoder_dim}"
            )
        for column in self.columns:
            if column not in HISTORY_COLUMNS:
                problems.append(
                    f"{PREFIX}history: expected columns among {list(HISTORY_COLUMNS)} joined by "
                    f"'+', found {column!r}"
                )
        if self.needs_teacher and self.teacher is None:
            problems.append(
                f"{PREFIX}teacher: expected the expid of a foundation model, because "
                f"{PREFIX}kd={self.kd} and {PREFIX}history={self.history}; found null"
            )
        return problems

    def _range_problems(self) -> list[str]:
        """Values outside the range of their own key."""
        problems = []
        for name, allowed in CHOICES.items():
            found = getattr(self, name)
            if found not in allowed:
                problems.append(f"{PREFIX}{name}: expected one of {list(allowed)}, found {found!r}")
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                problems.append(f"{PREFIX}{name}: expected at least 1, found {getattr(self, name)}")
        for name in NOT_NEGATIVE:
            if getattr(self, name) < 0:
                problems.append(f"{PREFIX}{name}: expected 0 or more, found {getattr(self, name)}")
        if self.encoder_dropout >= 1:
            problems.append(
                f"{PREFIX}encoder_dropout: expected less than 1, found {self.encoder_dropout}"
            )
        return problems

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the history, empty without one."""
        return split_names(self.history)

    @property
    def needs_teacher(self) -> bool:
        """True if a run under these keys reads anything that a teacher logged."""
        logged = self.reads_loss or self.current != "none" or "embedding" in self.columns
        return self.view == "vertical" and logged

    @property
    def reads_loss(self) -> bool:
        """True if a training loss reads what the teacher logged."""
        return self.kd != "none" or self.hint != "none"

    @property
    def needs_loss_embedding(self) -> bool:
        """True if that includes the teacher's embedding, not the logit alone."""
        return self.kd == "privileged" or self.hint != "none"

    @property
    def method(self) -> str:
        """The leaderboard's name of what is transferred, for example ``KD+LoopFM+label``."""
        parts = [KD_NAMES[self.kd]] if self.kd != "none" else []
        parts += [HINT_NAMES[self.hint]] if self.hint != "none" else []
        if self.current != "none":
            entity = self.current == "embedding" and self.taps == "user_only"
            parts.append("entity-only" if entity else f"current {self.current.replace('_', ' ')}")
        if "embedding" in self.columns:
            parts.append("LoopFM+raw" if "ids" in self.columns else "LoopFM")
        elif "ids" in self.columns:
            parts.append("raw_seq")
        elif self.columns:
            parts.append("events")
        if "label" in self.columns:
            parts.append("label")
        return "+".join(parts) or "base"

    def sequence_spec(self, time_unit: str) -> SequenceSpec:
        """The causal rule in the log's time unit.

        A filter on the label needs the label, so the event is usable only once that is known.
        """
        per_second = UNITS_PER_SECOND[time_unit]
        delay = self.delay_seconds
        if self.event_filter is not None and self.event_filter.startswith("label"):
            delay = max(delay, self.label_delay_seconds)
        window = self.window_seconds
        return SequenceSpec(
            max_len=self.max_len,
            delay=round(delay * per_second),
            window=None if window is None else round(window * per_second),
            label_delay=round(self.label_delay_seconds * per_second),
        )


def split_names(text: str | None) -> tuple[str, ...]:
    """``"a+b"`` as ``("a", "b")``; null as ``()``. One string, because the tuner takes a list for
    an axis of its grid."""
    return tuple(part.strip() for part in text.split("+") if part.strip()) if text else ()


def _coerce(name: str, value: Any, annotation: Any) -> tuple[str | None, Any]:
    """(problem or None, value); whole floats pass for ints and ints for floats."""
    kind, _, optional = str(annotation).partition(" | ")
    if value is None:
        return (None, None) if optional else (f"expected {kind}, found null", None)
    if kind == "bool" or isinstance(value, bool):
        good = kind == "bool" and isinstance(value, bool)
        return (None if good else f"expected {kind}, found {value!r}"), value
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
    return f"expected {kind}, found {value!r}", value


def default_values() -> dict[str, Any]:
    """``loopfm_`` keys with their defaults, as a config writes them."""
    return {
        PREFIX + field.name: field.default
        for field in fields(LoopFMKeys)
        if field.default is not MISSING
    }
