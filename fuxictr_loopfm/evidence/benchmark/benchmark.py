"""All methods, models and seeds of a data set in one process, and the leaderboard they give."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.device import require_device
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.folders import expids
from fuxictr_loopfm.config.identity import run_fingerprints
from fuxictr_loopfm.config.keys import default_values
from fuxictr_loopfm.config.zoo import find_model
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.evidence.benchmark.configs import (
    TEACHER_MODEL,
    Location,
    ModelName,
    folder_name,
    teacher_dataset_id,
    write_teacher_config,
    write_vertical_config,
)
from fuxictr_loopfm.evidence.methods import METHODS, method_slug
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.prepared.parts import did_you_mean
from fuxictr_loopfm.records.record import RunRecord, read_records, write_record
from fuxictr_loopfm.runs.vertical import run_vertical

FIRST_SEED = 2019


@dataclass(frozen=True)
class BenchmarkPlan:
    """What to run.

    Attributes:
        models: ``DeepFM``, ``DeepFM:small`` and so on.
        methods: names of ``configs.METHODS``.
        seeds: number of seeds.
        out: folder of records, generated configurations and leaderboard.
        zoo: a FuxiCTR ``model_zoo`` to take model classes from, or None.
        gpu: GPU index, -1 for the CPU.
        command: how to repeat it, without the raw folder's path.
        teacher: model class of the foundation model where no configuration is committed.
    """

    models: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int
    out: Path
    zoo: Path | None
    gpu: int
    command: str
    teacher: str = TEACHER_MODEL

    def __post_init__(self) -> None:
        require_device(self.gpu)
        problems = [
            f"METHODS: expected names among {list(METHODS)}, found {method!r}"
            + did_you_mean(method, METHODS)
            for method in self.methods
            if method not in METHODS
        ]
        if self.seeds < 1:
            problems.append(f"SEEDS: expected at least 1, found {self.seeds}")
        if not self.models:
            problems.append("MODELS: expected at least one model, found none")
        if problems:
            raise ConfigError(problems)


class Benchmark:
    """A plan on a prepared data set."""

    def __init__(self, checkout: Checkout, prepared: PreparedDataset, plan: BenchmarkPlan) -> None:
        self.checkout = checkout
        self.prepared = prepared
        self.plan = plan
        self.zoos = [*([plan.zoo] if plan.zoo else []), checkout.zoo]

    def run(self) -> list[RunRecord]:
        """Run what has no record yet; returns the records of the whole plan, in plan order."""
        folder = self.plan.out / "records"
        records: list[RunRecord] = []
        entries = list(self._entries())
        with tqdm(total=len(entries) * self.plan.seeds, file=sys.stderr, unit="run") as bar:
            for name, config_dir, expid in entries:
                workspace: Workspace | None = None
                for seed in range(FIRST_SEED, FIRST_SEED + self.plan.seeds):
                    bar.set_description(f"{expid} seed {seed}")
                    experiment = self._load(name, config_dir, expid, seed)
                    record = self.finished(folder, experiment)
                    if record is None:
                        workspace = workspace or Workspace(experiment, experiment.load_teacher())
                        record, _, _ = run_vertical(
                            experiment, workspace, model_name=str(name), command=self.plan.command
                        )
                        write_record(folder, record)
                    records.append(record)
                    bar.update()
        return records

    def _entries(self) -> Iterator[tuple[ModelName, Path, str]]:
        for text in self.plan.models:
            name = ModelName.parse(text)
            find_model(name.model, self.zoos)
            config_dir = self.config_dir(name)
            prefix = name.prefix(self.prepared.spec.dataset_id)
            known = expids(config_dir)
            for method in self.plan.methods:
                expid = f"{prefix}_{method_slug(method)}"
                if expid not in known:
                    raise ConfigError(
                        f"{config_dir}: expected an expid {expid} ({method}), found {known}"
                    )
                yield name, config_dir, expid

    def _load(self, name: ModelName, config_dir: Path, expid: str, seed: int) -> Experiment:
        overrides: dict[str, Any] = {"seed": seed, "verbose": 0}
        overrides["model_root"] = str(self.plan.out / "checkpoints")
        overrides["loopfm_prepared"] = str(self.prepared.folder.resolve())
        if self.plan.zoo is not None:
            overrides["loopfm_model_zoo"] = str(self.plan.zoo)
        return Experiment.load(
            config_dir,
            expid,
            base_dir=self.checkout.base_dir(name.model),
            zoo=self.checkout.zoo,
            gpu=self.plan.gpu,
            overrides=overrides,
        )

    def finished(self, folder: Path, experiment: Experiment) -> RunRecord | None:
        """The record of this very run, if an earlier call made it."""
        path = folder / f"{experiment.expid}-seed{experiment.params['seed']}.json"
        if not path.is_file():
            return None
        record = read_records([path])[0]
        wanted = run_fingerprints(experiment, self.prepared.fingerprint)
        same = all(record.fingerprints[name] == value for name, value in wanted.items())
        return record if same else None

    def config_dir(self, name: ModelName) -> Path:
        """The committed configuration folder, else one written under the output folder."""
        dataset_id = self.prepared.spec.dataset_id
        committed = self.checkout.configs(dataset_id) / folder_name(name.model, dataset_id)
        if committed.is_dir():
            return committed
        folder = self.plan.out / "configs"
        # Relative paths are followed through links, so they must start from where links lead.
        base = self.checkout.base_dir(name.model).resolve()
        where = self._location(base)
        teacher = self._teacher_config(base, where, folder)
        skipped = (
            "view",
            "prepare",
            "prepared",
            "raw_data",
            "model_zoo",
            "teacher",
            "teacher_config",
        )
        loopfm = {
            key: value
            for key, value in default_values().items()
            if key.removeprefix("loopfm_") not in skipped
        }
        target = folder / folder_name(name.model, dataset_id)
        write_vertical_config(target, self.prepared.spec, where, self.zoos, name, teacher, loopfm)
        return target

    def _teacher_config(self, base: Path, where: Location, folder: Path) -> tuple[str, str]:
        """(folder relative to ``base``, expid) of the teacher's configuration."""
        dataset_id = self.prepared.spec.dataset_id
        expid = folder_name(self.plan.teacher, teacher_dataset_id(dataset_id))
        committed = self.checkout.configs(dataset_id) / expid
        if not committed.is_dir():
            committed = folder / expid
            write_teacher_config(committed, self.prepared.spec, where, self.zoos, self.plan.teacher)
        return os.path.relpath(committed.resolve(), base), expid

    def _location(self, base: Path) -> Location:
        """Paths as a configuration names them: relative to the script's folder."""
        script = self.checkout.scripts().get(self.prepared.spec.dataset_id)
        data_root = self.checkout.data_root
        raw = data_root / "raw" / self.prepared.spec.dataset_id
        return Location(
            data_root=os.path.relpath(data_root, base),
            prepared=os.path.relpath(self.prepared.folder.resolve(), base),
            prepare=os.path.relpath(script, base) if script else None,
            raw_data=os.path.relpath(raw, base) if script else None,
        )


def log_to_file(path: Path) -> None:
    """Send the log to a file, so that the console shows the progress bar alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for handler in logging.root.handlers[:]:
        logging.root.removeHandler(handler)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s P%(process)d %(levelname)s %(message)s",
        handlers=[logging.FileHandler(path, mode="a")],
    )
