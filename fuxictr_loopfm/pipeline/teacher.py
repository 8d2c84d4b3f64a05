"""Stages 1 and 2: train the foundation model with its autoencoder, then log in one pass.

The teacher's weights depend on its own expid alone. The autoencoder is trained on detached
activations with an optimizer and random numbers of its own, so co-training leaves the teacher
bit-identical; a compressor of other taps or another width can also be fitted post hoc.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fuxictr_loopfm.analysis.metrics import evaluate
from fuxictr_loopfm.compression.compressor import Compressor, Training
from fuxictr_loopfm.compression.compressors import COMPRESSORS, build_compressor
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.identity import compressor_identity, fresh_identity, teacher_identity
from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.config.names import split_names
from fuxictr_loopfm.data.dataloader import BatchSource, LoopFMDataLoader
from fuxictr_loopfm.data.encode import build_view
from fuxictr_loopfm.errors import ConfigError, ProvenanceError
from fuxictr_loopfm.extraction.extractor import extract
from fuxictr_loopfm.extraction.tap import TapRecorder, resolve_taps
from fuxictr_loopfm.files.atomic import atomic_dir, fingerprint, locked
from fuxictr_loopfm.host.history_fields import check_histories_learn
from fuxictr_loopfm.host.model import feature_map_of, new_model
from fuxictr_loopfm.host.table_optimizer import fresh_optimizer
from fuxictr_loopfm.host.trainer import progress, train_epochs
from fuxictr_loopfm.host.weights import save_weights
from fuxictr_loopfm.pipeline.histories import Histories
from fuxictr_loopfm.pipeline.logged_quality import probability
from fuxictr_loopfm.pipeline.origin import require_origin
from fuxictr_loopfm.pipeline.teacher_files import (
    COMPRESSOR_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    read_teacher_manifest,
    teacher_problems,
    write_teacher_manifest,
)
from fuxictr_loopfm.pipeline.teacher_workspace import TeacherWorkspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset

SOFT_LABEL = ("soft_label",)


def learned_periods(teacher: Experiment, prepared: PreparedDataset) -> tuple[int, ...]:
    """The periods that a teacher learns before it logs anything.

    Raises:
        ConfigError: it asks for more than the data set gives to teachers.
    """
    given, count = prepared.spec.periods.teacher_train, teacher.keys.train_periods
    if count is not None and count > len(given):
        raise ConfigError(
            f"{teacher.where}: loopfm_train_periods: expected at most {len(given)}, the periods "
            f"{list(given)} that {prepared.spec.dataset_id} gives to teachers, found {count}"
        )
    return given[:count]


class TeacherRun:
    """A teacher and its compressor, trained or loaded.

    Args:
        teacher: the foundation model's experiment.
        keys: of the experiment that wants the log.
        prepared: the event log.
        root: folder of the data set's artifacts.
        upstream: folder of the extraction log whose embeddings the teacher's history reads; it must
            be complete when the teacher is trained or run.
    """

    def __init__(
        self,
        teacher: Experiment,
        keys: LoopFMKeys,
        prepared: PreparedDataset,
        root: Path,
        upstream: Path | None = None,
    ) -> None:
        self.teacher = teacher
        self.keys = keys
        self.prepared = prepared
        self.upstream = upstream
        self.train_periods = learned_periods(teacher, prepared)
        self.view = build_view(prepared, teacher.params, "teacher")
        logged = None if upstream is None else upstream.name
        self.identity = teacher_identity(teacher, self.view.fingerprint, logged)
        identity = {"teacher": self.identity, "compressor": compressor_identity(keys)}
        self.teacher_fingerprint = fingerprint(self.identity)
        self.compressor_fingerprint = fingerprint(identity)
        delay = max(each.label_delay_seconds for each in self.both_keys)
        fresh = fresh_identity(keys, delay)
        self.log_fingerprint = (
            fingerprint({**identity, "fresh": fresh}) if fresh else self.compressor_fingerprint
        )
        self.folder = root / f"teacher-{self.compressor_fingerprint}"
        self.compressor: Compressor | None = None

    @property
    def both_keys(self) -> tuple[LoopFMKeys, LoopFMKeys]:
        """The teacher's own, and those of the experiment that wants the log."""
        return self.teacher.keys, self.keys

    @cached_property
    def histories(self) -> Histories:
        """The teacher's own histories, made on first use; without any if its keys name none."""
        place = self.folder.parent
        return Histories(
            TeacherWorkspace(self.teacher, self.prepared, self.view, place, self.upstream)
        )

    @cached_property
    def model(self) -> Any:
        """The network, made on first use: who asks for fingerprints alone needs none."""
        fields = self.histories.fields
        return new_model(self.teacher, feature_map_of(self.teacher, self.view, fields), fields)

    @cached_property
    def _sources(self) -> dict[str, dict[str, BatchSource]]:
        """What fills the histories, by split."""
        return {split: self.histories.sources(split) for split in ("train", "log")}

    def loader(self, split: str, rows: slice | None = None, **kwargs: Any) -> Any:
        """Batches of a split of the teacher's view, in time order unless ``shuffle=True``."""
        params = self.teacher.params
        return LoopFMDataLoader(
            self.model.feature_map,
            str(self.view.folder / f"{split}.parquet"),
            split=split,
            batch_size=params["batch_size"],
            seed=params["seed"],
            loopfm_rows=rows,
            loopfm_histories=self._sources[split],
            **kwargs,
        )

    def _training_rows(self, *, shuffle: bool) -> Any:
        """Batches of the periods that the teacher learns before it logs anything."""
        rows = None
        if self.teacher.keys.train_periods is not None:
            learned = self.prepared.rows_of(self.train_periods)
            rows = slice(0, learned.stop - learned.start)
        return self.loader("train", rows=rows, shuffle=shuffle)

    def taps(self) -> list[Any]:
        """The tapped modules."""
        spec = self.prepared.spec
        # The user's own fields: those that only the teacher has (ours; no public definition).
        only_teacher = [c.name for c in spec.columns if "vertical" not in c.views]
        users = [n for n in dict.fromkeys([spec.user, *only_teacher]) if n in self.categoricals()]
        names = split_names(self.keys.taps)
        return resolve_taps(self.model, names, tuple(spec.item_columns), users)

    def categoricals(self) -> set[str]:
        """Names of the teacher's categorical features."""
        features = self.model.feature_map.features.items()
        return {name for name, spec in features if spec["type"] == "categorical"}

    @property
    def logs_soft_label(self) -> bool:
        """True if the teacher's prediction alone is logged; it needs no compressor."""
        return split_names(self.keys.taps) == SOFT_LABEL

    def ready(self) -> TeacherRun:
        """Load the trained teacher, or train it."""
        with locked(self.folder):
            if not (self.folder / MANIFEST_FILE).is_file():
                self._train()
            else:
                self._load()
        return self

    def restart(self) -> None:
        """Go on from the saved weights with fresh optimizers, as any later process would.

        Random numbers, which dropout draws, start anew as well: they must not tell whether this
        process trained the teacher or found it.
        """
        fresh_optimizer(self.model)
        torch.manual_seed(self.teacher.params["seed"])
        self._load()

    def _load(self) -> None:
        self._require_own()
        path = self.folder / WEIGHTS_FILE
        try:
            self.model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises half a dozen types for damaged files
            raise ProvenanceError(
                f"{path}: expected the teacher's weights, found a damaged or foreign file "
                f"({error}). Delete {self.folder} to train it again."
            ) from error
        if (self.folder / COMPRESSOR_FILE).is_file():
            kind = COMPRESSORS[self.keys.compressor]
            self.compressor = kind.load(self.folder / COMPRESSOR_FILE, device=self.model.device)
            found = self.compressor.dim
            if found != self.keys.dim:
                raise ProvenanceError(
                    f"{self.folder / COMPRESSOR_FILE}: dim: expected {self.keys.dim} (loopfm_dim), "
                    f"found {found}. Delete {self.folder} to train it again."
                )

    def _require_own(self) -> None:
        """Refuse another teacher's folder, and files that are not the recorded ones."""
        manifest = read_teacher_manifest(self.folder)
        own = {"teacher": self.teacher_fingerprint, "compressor": self.compressor_fingerprint}
        require_origin(self.folder / MANIFEST_FILE, own, manifest)
        problems = teacher_problems(self.folder, manifest)
        if problems:
            raise ProvenanceError("\n".join(problems))

    def _train(self) -> None:
        params = self.teacher.params
        logging.info("Train the teacher %s", self.teacher.expid)
        batches = self._training_rows(shuffle=params.get("shuffle", True))
        with TapRecorder(self.model, self.taps()) as recorder:
            course = self.train_on(batches, recorder, epochs=params.get("epochs", 1))
            self._fit_afterwards(recorder)
        with atomic_dir(self.folder) as folder:
            save_weights(self.model, folder / WEIGHTS_FILE)
            if self.compressor is not None:
                self.compressor.save(folder / COMPRESSOR_FILE)
            write_teacher_manifest(
                folder,
                {
                    "expid": self.teacher.expid,
                    "teacher": self.teacher_fingerprint,
                    "compressor": self.compressor_fingerprint,
                    "identity": self.identity,
                    "dataset_id": self.prepared.spec.dataset_id,
                    "dataset_fingerprint": self.prepared.fingerprint,
                    "train_periods": list(self.train_periods),
                    "course": course,
                },
            )

    def train_on(self, batches: Any, recorder: TapRecorder, *, epochs: int) -> dict[str, Any]:
        """Train the teacher, and beside it the compressor unless that comes afterwards.

        Returns:
            The course of the training, see ``analysis.training_watch``. After each of several
            epochs it is seen what they are worth on the next period, unless that is a test.
        """
        following = max(self.train_periods) + 1
        watched = epochs > 1 and following < self.prepared.spec.periods.test[0]
        auc: list[float] = []
        pending = [self.model.loopfm_histories]

        def after_step(batch: Mapping[str, Any]) -> None:
            if pending:
                check_histories_learn(self.model, pending.pop())
            if self.compresses_beside:
                self._compressor_step(recorder.read(), batch)

        def after_epoch() -> None:
            if watched:
                auc.append(self._auc_of(following, recorder))

        loss = train_epochs(
            self.model, batches, epochs=epochs, after_step=after_step, after_epoch=after_epoch
        )
        return {"loss": loss, **({"period": following, "AUC": auc} if watched else {})}

    def _auc_of(self, period: int, recorder: TapRecorder) -> float:
        """AUC on a period; 0.5 where its labels are of one class."""
        batches = self.batches_of_period(period)
        found = list(extract(self.model, recorder, lambda e: e[:, :1], batches))
        label = self.prepared.label[np.concatenate([each.event_id for each in found])]
        logit = np.concatenate([each.logit for each in found])
        return evaluate(label, probability(logit))["AUC"] if 0 < label.mean() < 1 else 0.5

    @property
    def compresses_beside(self) -> bool:
        """True if the compressor takes a step beside each of the teacher's."""
        return not self.logs_soft_label and not self._epochs_afterwards

    @property
    def _epochs_afterwards(self) -> int:
        """Passes of the compressor over the trained teacher's activations."""
        spec = self.keys.compressor_spec
        return COMPRESSORS[spec.kind].epochs_afterwards(spec)

    def _compressor_step(self, activation: Tensor, batch: Mapping[str, Any]) -> None:
        if self.compressor is None:
            training = Training(
                input_dim=activation.shape[1],
                fit_periods=self.train_periods,
                seed=self.teacher.params["seed"],
                device=self.model.device,
            )
            self.compressor = build_compressor(self.keys.compressor_spec, training)
        self.compressor.step(activation, self.model.get_labels(batch).view(-1))

    def _fit_afterwards(self, recorder: TapRecorder) -> None:
        if self.logs_soft_label:
            return
        for epoch in range(self._epochs_afterwards):
            self.model.eval()
            batches = self._training_rows(shuffle=True)
            for batch in progress(batches, self.model, f"compressor epoch {epoch + 1}"):
                with torch.no_grad():
                    self.model.forward(batch)
                self._compressor_step(recorder.read(), batch)

    def encode(self, activation: Tensor) -> Tensor:
        """(B, D) activations to (B, d) embeddings in [-1, 1].

        A soft label p needs no compressor: it is logged as 2p - 1 (ours).
        """
        if self.logs_soft_label:
            return 2.0 * activation - 1.0
        if self.compressor is None:
            raise ConfigError(f"{self.folder}: the teacher has no compressor; delete the folder")
        return self.compressor.encode(activation)

    def batches_of_period(
        self, period: int, first: int = 0, last: int | None = None, *, shuffle: bool = False
    ) -> Any:
        """Batches of one period, in time order unless shuffled, from whichever split holds it.

        Args:
            period: its number.
            first, last: use only these of its rows, the second exclusive; default all.
            shuffle: in another order.
        """
        rows = self.prepared.rows_of((period,))
        split = "train" if period in self.prepared.spec.periods.teacher_train else "log"
        start = rows.start - self.view.rows(split).start
        stop = start + (rows.stop - rows.start if last is None else last)
        return self.loader(split, rows=slice(start + first, stop), shuffle=shuffle)
