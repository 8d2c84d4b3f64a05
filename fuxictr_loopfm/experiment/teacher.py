"""Stages 1 and 2: train the foundation model with its autoencoder, then log in one pass.

The teacher's weights depend on its own expid alone. The autoencoder is trained on detached
activations with an optimizer and random numbers of its own, so co-training leaves the teacher
bit-identical; a compressor of other taps or another width can also be fitted post hoc.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fuxictr_loopfm.compression.autoencoder import AutoencoderSpec, CoTrainer
from fuxictr_loopfm.data.dataloader import LoopFMDataLoader
from fuxictr_loopfm.data.encode import EncodedView, build_view
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.events import PreparedDataset
from fuxictr_loopfm.experiment.experiment import Experiment
from fuxictr_loopfm.experiment.keys import LoopFMKeys, split_names
from fuxictr_loopfm.experiment.model import feature_map_of, new_model, source_identity
from fuxictr_loopfm.experiment.trainer import progress, train_epochs
from fuxictr_loopfm.extraction.extractor import extract
from fuxictr_loopfm.extraction.tap import TapRecorder, resolve_taps
from fuxictr_loopfm.fsio import atomic_dir, fingerprint, locked, write_json
from fuxictr_loopfm.store.extraction_log import ExtractionLog, ExtractionManifest, PartRecord
from fuxictr_loopfm.store.schema import MANIFEST_FILE

CALIBRATION_ROWS = 200_000
CALIBRATION_FILE = "calibration.npy"
COMPRESSOR_FILE = "compressor.pt"
IGNORED_PARAMS = ("gpu", "verbose", "model_root", "data_root", "num_workers", "model_id")
SOFT_LABEL = ("soft_label",)


def teacher_identity(teacher: Experiment, view: EncodedView) -> dict[str, Any]:
    """Everything that determines the teacher's weights, and nothing else."""
    params = {
        name: value
        for name, value in teacher.params.items()
        if name not in IGNORED_PARAMS and not name.startswith("loopfm_")
    }
    return {"view": view.fingerprint, "params": params, "source": source_identity(teacher)}


def compressor_identity(keys: LoopFMKeys) -> dict[str, Any]:
    """Everything that determines the compressor, given the teacher."""
    names = ["taps", "dim", "compressor", "compressor_hidden", "compressor_lr", "matryoshka_dims"]
    if keys.compressor == "post_hoc":
        names.append("compressor_epochs")
    return {name: getattr(keys, name) for name in names}


class TeacherRun:
    """A teacher and its compressor, trained or loaded."""

    def __init__(
        self, teacher: Experiment, keys: LoopFMKeys, prepared: PreparedDataset, root: Path
    ) -> None:
        self.teacher = teacher
        self.keys = keys
        self.prepared = prepared
        self.view = build_view(prepared, teacher.params, "teacher")
        identity = {
            "teacher": teacher_identity(teacher, self.view),
            "compressor": compressor_identity(keys),
        }
        self.teacher_fingerprint = fingerprint(identity["teacher"])
        self.compressor_fingerprint = fingerprint(identity)
        self.folder = root / f"teacher-{self.compressor_fingerprint}"
        self.model: Any = new_model(teacher, feature_map_of(teacher, self.view))
        self.compressor: CoTrainer | None = None

    def loader(self, split: str, rows: tuple[int, int] | None = None, **kwargs: Any) -> Any:
        """Batches of a split of the teacher's view, in time order unless ``shuffle=True``."""
        params = self.teacher.params
        return LoopFMDataLoader(
            self.model.feature_map,
            str(self.view.folder / f"{split}.parquet"),
            split=split,
            batch_size=params["batch_size"],
            seed=params["seed"],
            loopfm_rows=rows,
            **kwargs,
        )

    def taps(self) -> list[Any]:
        """The tapped modules."""
        items = tuple(self.prepared.spec.item_columns)
        return resolve_taps(self.model, split_names(self.keys.taps), items)

    @property
    def logs_soft_label(self) -> bool:
        """True if the teacher's prediction alone is logged; it needs no compressor."""
        return split_names(self.keys.taps) == SOFT_LABEL

    def ready(self) -> TeacherRun:
        """Load the trained teacher, or train it."""
        with locked(self.folder):
            if not (self.folder / "manifest.json").is_file():
                self._train()
            else:
                self._load()
        return self

    def _load(self) -> None:
        state = torch.load(self.folder / "teacher.pt", map_location="cpu", weights_only=True)
        self.model.load_state_dict(state)
        if (self.folder / COMPRESSOR_FILE).is_file():
            self.compressor = CoTrainer.load(
                self.folder / COMPRESSOR_FILE, device=self.model.device
            )

    def _train(self) -> None:
        params = self.teacher.params
        logging.info("Train the teacher %s", self.teacher.expid)
        batches = self.loader("train", shuffle=params.get("shuffle", True))
        soft_label = self.logs_soft_label
        with TapRecorder(self.model, self.taps()) as recorder:
            co_train = self.keys.compressor == "co_train" and not soft_label

            def after_step(_batch: Mapping[str, Any]) -> None:
                if co_train:
                    self._compressor_step(recorder.read())

            train_epochs(self.model, batches, epochs=params.get("epochs", 1), after_step=after_step)
            if not co_train and not soft_label:
                self._fit_post_hoc(recorder)
        with atomic_dir(self.folder) as folder:
            torch.save(self.model.state_dict(), folder / "teacher.pt")
            if self.compressor is not None:
                self.compressor.save(folder / COMPRESSOR_FILE)
            write_json(
                folder / "manifest.json",
                {
                    "expid": self.teacher.expid,
                    "teacher": self.teacher_fingerprint,
                    "compressor": self.compressor_fingerprint,
                    "identity": teacher_identity(self.teacher, self.view),
                    "train_periods": list(self.prepared.spec.periods.teacher_train),
                },
            )

    def _compressor_step(self, activation: Tensor) -> None:
        if self.compressor is None:
            spec = AutoencoderSpec(
                input_dim=activation.shape[1],
                dim=self.keys.dim,
                hidden=self.keys.compressor_hidden,
                matryoshka_dims=tuple(int(d) for d in split_names(self.keys.matryoshka_dims)),
                fit_periods=self.prepared.spec.periods.teacher_train,
            )
            self.compressor = CoTrainer(
                spec,
                lr=self.keys.compressor_lr,
                seed=self.teacher.params["seed"],
                device=self.model.device,
            )
        self.compressor.step(activation)

    def _fit_post_hoc(self, recorder: TapRecorder) -> None:
        self.model.eval()
        for epoch in range(self.keys.compressor_epochs):
            batches = self.loader("train", shuffle=True)
            for batch in progress(batches, self.model, f"compressor epoch {epoch + 1}"):
                with torch.no_grad():
                    self.model.forward(batch)
                self._compressor_step(recorder.read())

    def encode(self, activation: Tensor) -> Tensor:
        """(B, D) activations to (B, d) embeddings in [-1, 1].

        A soft label p needs no compressor: it is logged as 2p - 1 (ours).
        """
        if self.logs_soft_label:
            return 2.0 * activation - 1.0
        if self.compressor is None:
            raise ConfigError(f"{self.folder}: the teacher has no compressor; delete the folder")
        return self.compressor.autoencoder.encode(activation)

    def batches_of_period(self, period: int) -> Any:
        """Batches of one period in time order, from whichever split holds it."""
        rows = self.prepared.rows_of((period,))
        split = "train" if period in self.prepared.spec.periods.teacher_train else "log"
        start, _ = self.view.rows(split)
        return self.loader(split, rows=(rows.start - start, rows.stop - start))


def build_extraction(
    teacher: Experiment, keys: LoopFMKeys, prepared: PreparedDataset, root: Path
) -> ExtractionLog:
    """Log every period that histories may use: one inference pass for logits and embeddings.

    Finished periods of an interrupted pass are kept. Paper: arXiv:2605.29280, Sec. 3, stage 1.
    """
    run = TeacherRun(teacher, keys, prepared, root)
    periods = list(prepared.spec.periods.log)
    if keys.backfill:
        periods = sorted({*periods, *prepared.spec.periods.teacher_train})
    identity = {"compressor": run.compressor_fingerprint, "periods": periods}
    folder = root / f"extraction-{fingerprint(identity)}"
    with locked(folder):
        if not (folder / MANIFEST_FILE).is_file():
            run.ready()
            logging.info("Extract periods %s with %s", periods, teacher.expid)
            with TapRecorder(run.model, run.taps()) as recorder:
                _write_calibration(folder, _embed(run, recorder, _last_training_period(prepared)))
                parts = tuple(_period_part(folder, run, recorder, period) for period in periods)
            manifest = ExtractionManifest(
                dim=1 if run.logs_soft_label else keys.dim,
                taps=list(split_names(keys.taps)),
                teacher_fingerprint=run.teacher_fingerprint,
                compressor_fingerprint=run.compressor_fingerprint,
                teacher_train_periods=list(prepared.spec.periods.teacher_train),
                logged_periods=periods,
                parts=parts,
            )
            ExtractionLog.write_manifest(folder, manifest)
    return ExtractionLog.open(folder)


def _last_training_period(prepared: PreparedDataset) -> int:
    return max(prepared.spec.periods.teacher_train)


def extraction_provenance(log: ExtractionLog) -> dict[str, Any]:
    """What an event store notes about where its codes come from; see ``store/schema.py``."""
    manifest = log.manifest
    return {
        "teacher_fingerprint": manifest.teacher_fingerprint,
        "teacher_train_periods": manifest.teacher_train_periods,
        "compressor_fingerprint": manifest.compressor_fingerprint,
        "compressor_fit_periods": manifest.teacher_train_periods,
        "quantizer_fit_periods": [max(manifest.teacher_train_periods)],
    }


def _embed(run: TeacherRun, recorder: TapRecorder, period: int) -> Iterator[Any]:
    batches = progress(run.batches_of_period(period), run.model, f"extract period {period}")
    return extract(run.model, recorder, run.encode, batches)


def _period_part(folder: Path, run: TeacherRun, recorder: TapRecorder, period: int) -> PartRecord:
    """Log one period, or find it whole from an interrupted pass."""
    name, meta = f"period-{period:04d}", {"compressor": run.compressor_fingerprint}
    finished = ExtractionLog.finished_part(folder, name, meta)
    if finished is not None:
        return finished
    parts = list(_embed(run, recorder, period))
    return ExtractionLog.write_part(
        folder,
        name,
        np.concatenate([part.event_id for part in parts]),
        np.concatenate([part.embedding for part in parts]),
        np.concatenate([part.logit for part in parts]),
        meta,
    )


def _write_calibration(folder: Path, parts: Iterator[Any]) -> None:
    """Embeddings of the teacher's last training period: what a quantiser may be fitted on."""
    rows: list[np.ndarray] = []
    for part in parts:
        rows.append(part.embedding)
        if sum(map(len, rows)) >= CALIBRATION_ROWS:
            break
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / CALIBRATION_FILE, np.concatenate(rows), allow_pickle=False)


def calibration_embedding(folder: Path) -> np.ndarray:
    """(n, d) float32 embeddings for fitting a quantiser; none is from a logged period."""
    return np.load(folder / CALIBRATION_FILE, allow_pickle=False)
