"""One trial: a teacher with one point of the space, scored on the periods before the test."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.files.atomic import write_json
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.pipeline.logged_quality import quality_by_period
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.tuning.space import MODEL, Point, Space, what_counts

# A log of predictions alone: no embedding is looked at.
SOFT_LABEL = "soft_label"


class WriteConfig(Protocol):
    """Writes a teacher's configuration for trials; the caller knows how configurations look."""

    def __call__(self, folder: Path, data_root: Path, model: str, settings: Point) -> str:
        """Write ``dataset_config.yaml`` and ``model_config.yaml``; returns the expid.

        Args:
            folder: where to write.
            data_root: for the encoded data and artifacts.
            model: its class.
            settings: params that replace the usual ones.
        """


@dataclass(frozen=True)
class Trial:
    """What came out of one point.

    Attributes:
        point: value by key of the space.
        auc: AUC by logged period, each predicted before it was learned; empty after a failure.
        seconds: of training and logging.
        problem: why it failed, empty if it did not.
    """

    point: Point
    auc: Mapping[str, float]
    seconds: float
    problem: str = ""

    @property
    def score(self) -> float:
        """The mean AUC over the logged periods; 0 after a failure."""
        return sum(self.auc.values()) / len(self.auc) if self.auc else 0.0


class Trials:
    """Runs trials, each of them once: finished ones are read from their records.

    Args:
        checkout: whose models are trained.
        dev: the data set without its test periods. Nothing else is read.
        out: holds the records, and the data that trials make on their way.
        write: writes the configuration of a trial's teacher.
        seed: of all trainings.
        gpu: GPU index, -1 for the CPU.
    """

    def __init__(
        self,
        checkout: Checkout,
        dev: PreparedDataset,
        out: Path,
        write: WriteConfig,
        *,
        seed: int,
        gpu: int,
    ) -> None:
        self.checkout, self.dev, self.out, self.write = checkout, dev, out, write
        self.seed, self.gpu = seed, gpu

    def run(self, point: Point, space: Space) -> Trial:
        """The trial of a point.

        Raises:
            ConfigError: the space has keys that the model has not.
        """
        experiment = self._experiment(point, space)
        passing = ExtractionPass(experiment, experiment.keys, self.dev, self._data / "artifacts")
        # The name of a log says all that its content depends on: data, params, code of the model.
        path = self.out / "trials" / f"{passing.folder.name}.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            return Trial(point, found["auc"], found["seconds"], found["problem"])
        trial = self._tried(point, passing)
        write_json(path, {**asdict(trial), "score": trial.score, "seed": self.seed})
        for folder in (passing.folder, passing.run.folder):
            shutil.rmtree(folder, ignore_errors=True)
        return trial

    def _tried(self, point: Point, passing: ExtractionPass) -> Trial:
        started = time.perf_counter()
        auc: dict[str, float] = {}
        problem = ""
        try:
            found = quality_by_period(passing.build(), self.dev)
            auc = {str(period): values["AUC"] for period, values in found.items()}
        except LoopFMError as error:
            problem = str(error)
            logging.warning("trial %s failed: %s", point, problem)
        return Trial(point, auc, time.perf_counter() - started, problem)

    @property
    def _data(self) -> Path:
        return self.out / "data"

    def _experiment(self, point: Point, space: Space) -> Experiment:
        folder = self.out / "trial"
        settings = what_counts(point)
        model = str(settings.pop(MODEL))
        expid = self.write(folder, self._data, model, settings)
        experiment = Experiment.load(
            folder,
            expid,
            base_dir=self.checkout.base_dir(model),
            zoo=self.checkout.zoo,
            gpu=self.gpu,
            overrides={
                "verbose": 0,
                "seed": self.seed,
                "model_root": str(self._data / "checkpoints"),
                "loopfm_prepared": str(self.dev.folder.resolve()),
            },
        )
        space.check(experiment.params)
        return replace(experiment, keys=replace(experiment.keys, taps=SOFT_LABEL))
