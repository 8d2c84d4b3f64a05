"""The flat ``loopfm_*`` configuration keys: names, defaults, ranges, and what a method is.

Keys are flat so that FuxiCTR's autotuner can sweep them. An unknown ``loopfm_`` key is refused,
because FuxiCTR models swallow unknown keyword arguments without a word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal
from typing import Any

from fuxictr_loopfm.alignment.alignments import ALIGNMENTS
from fuxictr_loopfm.compression.compressor import CompressorSpec
from fuxictr_loopfm.compression.compressors import COMPRESSORS
from fuxictr_loopfm.compression.quantizer import CODECS
from fuxictr_loopfm.config.names import PREFIX, split_names
from fuxictr_loopfm.distillation.distiller import DistillationSpec
from fuxictr_loopfm.distillation.registry import TRANSFERS, transfer_class
from fuxictr_loopfm.distillation.term import TransferSpec
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.base import EncoderSpec
from fuxictr_loopfm.layers.registry import ENCODERS
from fuxictr_loopfm.prepared.known import seconds_until_known
from fuxictr_loopfm.registry import Option, Registry
from fuxictr_loopfm.spec import UNITS_PER_SECOND, SequenceSpec
from fuxictr_loopfm.structuring.event_filter import LABEL, filter_column

# What a configuration chooses by name, and whose options are keys as well.
REGISTRIES: tuple[Registry[Any], ...] = (
    *(ENCODERS, COMPRESSORS, CODECS, ALIGNMENTS),
    *TRANSFERS.values(),
)


def known_options() -> dict[str, Option]:
    """The options of everything registered, by key without ``loopfm_``."""
    return {key: option for registry in REGISTRIES for key, option in registry.options().items()}


def _default_options() -> dict[str, Any]:
    return {key: option.default for key, option in known_options().items()}


@dataclass(frozen=True)
class LoopFMKeys:
    """Every ``loopfm_*`` key, without its prefix. Times are seconds; null means "not set".

    The options of an encoder, compressor, codec or loss are keys, too: ``loopfm_encoder_heads`` is
    the option ``heads`` of encoders. They are declared beside their classes, in ``layers/``,
    ``compression/`` and ``distillation/``.

    Attributes:
        view: which feature columns and periods the data set stands for.
        own_sequences: the vertical view also has the ready-made sequences that the prepared data
            set gives to the teacher alone, for models that need a sequence of their own.
        prepared, prepare, raw_data: folder of the prepared data set, the script that makes it and
            the folder of the raw log it reads.
        model_zoo: a FuxiCTR ``model_zoo`` folder to take the model class from.
        teacher, teacher_config: expid of the foundation model and the folder that defines it.
        taps: teacher layers to log, joined by ``+``.
        dim, compressor: width of a logged embedding, and what shortens the activations to it.
        codec: how a compressed embedding is stored.
        backfill: events of the periods that the teacher was trained on are in histories, too; their
            embeddings are logged by a teacher that has seen them. null means true where the history
            has no embedding: raw events owe nothing to the teacher.
        train_on: ``vertical`` trains on the vertical model's periods, ``all`` on those of the
            teacher before them, too.
        history: columns of the past events, joined by ``+``; null means no history.
        key, max_len, delay_seconds, window_seconds, label_delay_seconds, event_filter: the rule.
        id_columns, query_columns: null means the data set's item columns.
        encoder, encoder_dim: the history encoder and the width of its tokens.
        prefix_dim: read only the first dimensions of the embeddings (Matryoshka).
        kd: distillation, ExFM eqs (3)-(7), or from a head with privileged input.
        kd_trunk: module whose input or output is the trunk that losses read; null finds it.
        hint: loss between trunk and the current teacher embedding.
        current: a field from the current impression's teacher output (an oracle at serving time).
        train_periods: of a teacher's expid: it learns the first so many of the data set's teacher
            periods and logs the others as well, so that another teacher can read its past
            embeddings while it trains; null is all of them.
        checkpoint: log with one teacher, or go on training it after every logged period.
        fresh_epochs, fresh_lr_factor: how a teacher goes on learning with ``every_period``: passes
            over a period that is over, and its learning rate as a share of the first training's.
        replay: rows of an earlier period mixed into such a pass, as a share of its own.
        alignment: what keeps the embeddings of such a teacher in the space of its first checkpoint.
        delivery: how batches hold histories: ``ragged``, ``packed`` codes for the model to decode
            (fewer bytes to a GPU), or ``padded``. The same numbers in each.
        control: ``shuffled_users`` gives each sample the history of another user who had as many
            past events at the time.
        validation: train like BARS, with early stopping on the last training period.
        num_shards: files of the event store.
        threads: CPU threads of torch. One is the default because sums are then taken in the same
            order on every machine, and because small batches lose to waiting when cores are shared.
        table_optimizer: how embedding tables are updated. ``sparse`` touches the rows of a batch
            and ends where ``dense``, FuxiCTR's, does; ``auto`` takes the faster one by size;
            ``lazy`` moves no row that is not read, as TorchRec's do: another optimizer.
        table_state: what Adam and Adagrad keep of a table's row beside its weights. ``row`` keeps
            one mean of squared gradients a row instead of one square a weight: an approximation
            for tables that memory is too small for.
        options: value of every option, by key.
    """

    view: str = "vertical"
    own_sequences: bool = False
    prepared: str | None = None
    prepare: str | None = None
    raw_data: str | None = None
    model_zoo: str | None = None
    teacher: str | None = None
    teacher_config: str | None = None
    taps: str = "hidden_0"
    dim: int = 32
    compressor: str = "co_train"
    codec: str = "int4_kmeans"
    backfill: bool | None = None
    train_on: str = "vertical"
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
    prefix_dim: int | None = None
    kd: str = "none"
    kd_trunk: str | None = None
    hint: str = "none"
    current: str = "none"
    train_periods: int | None = None
    checkpoint: str = "fixed"
    fresh_epochs: int = 1
    fresh_lr_factor: float = 1.0
    replay: float = 0.0
    alignment: str = "none"
    delivery: str = "ragged"
    control: str = "none"
    validation: bool = False
    num_shards: int = 1
    threads: int = 1
    table_optimizer: str = "auto"
    table_state: str = "full"
    options: Mapping[str, Any] = field(default_factory=_default_options)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the history, empty without one."""
        return split_names(self.history)

    @property
    def logs_training(self) -> bool:
        """True if the teacher also logs the periods that it was trained on."""
        return self.backfill is True

    @property
    def stores_training(self) -> bool:
        """True if histories also hold events of the periods that the teacher was trained on."""
        if self.backfill is None:
            return bool(self.columns) and "embedding" not in self.columns
        return self.backfill

    @property
    def needs_teacher(self) -> bool:
        """True if a run under these keys reads anything that a teacher logged."""
        transferred = self.reads_loss or self.current != "none"
        return self.reads_embeddings or (self.view == "vertical" and transferred)

    @property
    def reads_embeddings(self) -> bool:
        """True if the history has a column of past embeddings."""
        return "embedding" in self.columns

    @property
    def reads_loss(self) -> bool:
        """True if a training loss reads what the teacher logged."""
        return self.kd != "none" or self.hint != "none"

    @property
    def needs_loss_embedding(self) -> bool:
        """True if that includes the teacher's embedding, not the logit alone."""
        return any(transfer_class(spec).needs_embedding for spec in self.transfers)

    @property
    def encoder_spec(self) -> EncoderSpec:
        """The history encoder."""
        options = ENCODERS.settings(self.encoder, self.options)
        return EncoderSpec(self.encoder, self.encoder_dim, self.max_len, options)

    @property
    def uses_query(self) -> bool:
        """True if the history encoder weighs events against the target."""
        return ENCODERS[self.encoder].uses_query

    @property
    def compressor_spec(self) -> CompressorSpec:
        """What shortens the teacher's activations."""
        options = COMPRESSORS.settings(self.compressor, self.options)
        return CompressorSpec(self.compressor, self.dim, options)

    @property
    def codec_options(self) -> dict[str, Any]:
        """The codec's own options by name."""
        return CODECS.settings(self.codec, self.options)

    @property
    def alignment_options(self) -> dict[str, Any]:
        """The alignment's own options by name."""
        return ALIGNMENTS.settings(self.alignment, self.options)

    @property
    def transfers(self) -> tuple[TransferSpec, ...]:
        """The losses that read what the teacher logged."""
        chosen = {"kd": self.kd, "hint": self.hint}
        return tuple(
            TransferSpec(key, kind, TRANSFERS[key].settings(kind, self.options))
            for key, kind in chosen.items()
            if kind != "none"
        )

    @property
    def distillation(self) -> DistillationSpec:
        """All that a distiller attaches to a model."""
        return DistillationSpec(self.transfers, self.kd_trunk)

    @property
    def method(self) -> str:
        """The leaderboard's name of what is transferred, for example ``KD+LoopFM+label``."""
        parts = [transfer_class(spec).board_name for spec in self.transfers]
        if self.current != "none":
            entity = self.current == "embedding" and self.taps == "user_only"
            parts.append("entity-only" if entity else f"current {self.current.replace('_', ' ')}")
        if "embedding" in self.columns:
            parts.append("LoopFM+raw" if "ids" in self.columns else "LoopFM")
        elif "ids" in self.columns:
            parts.append("raw" if self.stores_training else "raw_seq")
        elif self.columns:
            parts.append("events")
        if "label" in self.columns:
            parts.append("label")
        every = "-all" if self.train_on == "all" else ""
        return ("+".join(parts) or "base") + every

    def sequence_spec(self, time_unit: str, known: Mapping[str, Any] | None = None) -> SequenceSpec:
        """The causal rule in whole units of the log's time.

        A filter on the label, or on another outcome, needs its value, so the event is usable only
        once that is known. Nothing is rounded towards a longer past: "older than 1.5 s" and "older
        than 1 s" are one thing where times are whole seconds, "at most 1.5 s old" is "at most 1 s
        old", and a delay of less than one unit counts as one unit.

        Args:
            time_unit: of the log.
            known: when columns are known that are not known at the impression, see
                ``DatasetSpec.known_columns``.

        Raises:
            ConfigError: no event is young enough for the window and old enough for the delay.
        """
        delay = max(self.delay_seconds, self._seconds_until_filtered(known))
        window = None if self.window_seconds is None else _units(self.window_seconds, time_unit)
        if window is not None and window <= _delay(delay, time_unit):
            raise ConfigError(
                f"{PREFIX}window_seconds: expected more than the delay of {delay:g} s by at least "
                f"one unit of the log's time ({time_unit!r}), found {self.window_seconds:g}"
            )
        return SequenceSpec(
            max_len=self.max_len,
            delay=_delay(delay, time_unit),
            window=window,
            label_delay=_delay(self.label_delay_seconds, time_unit),
        )

    def _seconds_until_filtered(self, known: Mapping[str, Any] | None) -> float:
        """Seconds until it is known whether an event passes the filter."""
        column = None if self.event_filter is None else filter_column(self.event_filter)
        if column == LABEL:
            return self.label_delay_seconds
        if column is None or known is None or column not in known:
            return 0.0
        return seconds_until_known(known[column], self.label_delay_seconds)


def _delay(seconds: float, time_unit: str) -> int:
    """The whole units such that "older than" them is older than ``seconds``; 0 only for 0."""
    return max(_units(seconds, time_unit), int(seconds > 0))


def _units(seconds: float, time_unit: str) -> int:
    """The whole units in ``seconds``, of which the decimal digits count as they are written."""
    return math.floor(Decimal(repr(seconds)) * UNITS_PER_SECOND[time_unit])


def default_values() -> dict[str, Any]:
    """``loopfm_`` keys with their defaults, as a config writes them."""
    core = {item.name: item.default for item in fields(LoopFMKeys) if item.default is not MISSING}
    return {PREFIX + name: value for name, value in {**core, **_default_options()}.items()}
