"""The flat ``loopfm_*`` configuration keys: names, defaults, ranges, and what a method is.

Keys are flat so that FuxiCTR's autotuner can sweep them. An unknown ``loopfm_`` key is refused,
because FuxiCTR models swallow unknown keyword arguments without a word.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

from fuxictr_loopfm.config.names import PREFIX, split_names
from fuxictr_loopfm.spec import UNITS_PER_SECOND, SequenceSpec
from fuxictr_loopfm.structuring.event_filter import reads_label

KD_NAMES = {
    "aux_head": "KD",
    "single_head": "KD(single head)",
    "aux_head_adapter": "KD(adapter)",
    "privileged": "PFD",
}
HINT_NAMES = {"fitnets": "FitNets", "crd": "CRD-InfoNCE"}


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
        delivery: how batches hold histories: ``ragged``, ``packed`` codes for the model to decode
            (fewer bytes to a GPU), or ``padded``. The same numbers in each.
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
    delivery: str = "ragged"
    control: str = "none"
    validation: bool = False
    num_shards: int = 1
    threads: int = 1

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
        if self.event_filter is not None and reads_label(self.event_filter):
            delay = max(delay, self.label_delay_seconds)
        window = self.window_seconds
        return SequenceSpec(
            max_len=self.max_len,
            delay=round(delay * per_second),
            window=None if window is None else round(window * per_second),
            label_delay=round(self.label_delay_seconds * per_second),
        )


def default_values() -> dict[str, Any]:
    """``loopfm_`` keys with their defaults, as a config writes them."""
    return {
        PREFIX + field.name: field.default
        for field in fields(LoopFMKeys)
        if field.default is not MISSING
    }
