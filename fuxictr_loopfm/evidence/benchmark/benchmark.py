"""All methods, models and seeds of a data set with one command."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.device import require_device
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.folders import expids, load_params
from fuxictr_loopfm.config.key_rules import read_keys
from fuxictr_loopfm.config.zoo import find_model
from fuxictr_loopfm.errors import ConfigError, did_you_mean
from fuxictr_loopfm.evidence.benchmark.configs import (
    Location,
    ModelName,
    folder_name,
    lists_dataset_id,
    teacher_dataset_id,
    write_vertical_config,
)
from fuxictr_loopfm.evidence.benchmark.generated import generate
from fuxictr_loopfm.evidence.benchmark.jobs import fitting_jobs
from fuxictr_loopfm.evidence.benchmark.locations import location_of
from fuxictr_loopfm.evidence.benchmark.runner import Entry, run_entries
from fuxictr_loopfm.evidence.benchmark.teacher_config import (
    TEACHER_MODEL,
    fresh_keys,
)
from fuxictr_loopfm.evidence.benchmark.tuned_teacher import Asked, write_default_teacher
from fuxictr_loopfm.evidence.methods import METHODS, TEACHER, method_slug
from fuxictr_loopfm.pipeline.preparation import whole_id
from fuxictr_loopfm.prepared.dataset import DatasetSpec, PreparedDataset
from fuxictr_loopfm.records.record import RunRecord
from fuxictr_loopfm.tuning.log_rule import rule_of
from fuxictr_loopfm.tuning.tune import TRAIL


@dataclass(frozen=True)
class BenchmarkPlan:
    """What to run.

    Attributes:
        models: ``DeepFM``, ``DeepFM:small`` and so on.
        methods: names of ``METHODS``.
        seeds: number of seeds.
        out: folder of records, generated configurations and leaderboard.
        zoo: a FuxiCTR ``model_zoo`` to take model classes from, or None.
        gpu: GPU index, -1 for the CPU.
        command: how to repeat it, without the raw folder's path.
        teacher: model class of the foundation model where no configuration is committed.
        teacher_config: folder of the teacher's configuration, instead of the committed one.
        teacher_minutes: what a search for the teacher's settings may cost where no configuration
            is committed; 0 takes what follows from the log's statistics.
        own_sequences: vertical models also read the sequences that only the teacher has.
        teacher_seeds: teachers that take turns with the runs' seeds; None for one per seed.
        jobs: how many runs at a time; None for as many as fit the machine, see ``fitting_jobs``.
    """

    models: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int
    out: Path
    zoo: Path | None
    gpu: int
    command: str
    teacher: str = TEACHER_MODEL
    teacher_config: Path | None = None
    teacher_minutes: float = 0.0
    own_sequences: bool = False
    jobs: int | None = 1
    teacher_seeds: int | None = None

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


def require_models(checkout: Checkout, models: Iterable[str], zoo: Path | None) -> None:
    """Refuse models that no zoo has, before the data are prepared and a folder is kept for them.

    Args:
        checkout: whose zoo is looked into last.
        models: ``DeepFM``, ``DeepFM:small`` and so on.
        zoo: a FuxiCTR ``model_zoo``, or None.

    Raises:
        ConfigError: a zoo that is no folder, an unknown model or an unknown size.
    """
    for text in models:
        find_model(ModelName.parse(text).model, _zoos(checkout, zoo))


def _zoos(checkout: Checkout, zoo: Path | None) -> list[Path]:
    return [*([zoo] if zoo else []), checkout.zoo]


class Benchmark:
    """A plan on a prepared data set."""

    def __init__(self, checkout: Checkout, prepared: PreparedDataset, plan: BenchmarkPlan) -> None:
        self.checkout = checkout
        self.prepared = prepared
        self.plan = plan
        self.zoos = _zoos(checkout, plan.zoo)

    def run(self) -> list[RunRecord]:
        """Run what has no record yet; returns the records of the whole plan, in plan order."""
        return self.run_entries(list(self._entries()))

    def run_entries(self, entries: Sequence[Entry]) -> list[RunRecord]:
        """Run entries with the plan's seeds, see ``runner.run_entries``."""
        plan = self.plan
        jobs = plan.jobs or fitting_jobs(entries, self.prepared.spec.rows)
        return run_entries(
            entries,
            self.prepared,
            plan.seeds,
            plan.out,
            plan.command,
            jobs,
            teacher_seeds=plan.teacher_seeds,
        )

    def _entries(self) -> Iterator[Entry]:
        for text in self.plan.models:
            name = ModelName.parse(text)
            config_dir = self.config_dir(name)
            prefix = name.prefix(self.config_id)
            for method in self.plan.methods:
                if method == TEACHER:
                    experiment = self._logged_teacher(config_dir, name, prefix)
                else:
                    experiment = self.load(config_dir, name, f"{prefix}_{method_slug(method)}")
                found = TEACHER if method == TEACHER else _name_of(method, experiment)
                teacher = experiment.load_teacher()
                yield Entry(str(name), experiment, teacher, found, keeps_predictions=True)

    def _logged_teacher(self, config_dir: Path, name: ModelName, prefix: str) -> Experiment:
        """The experiment whose teacher's log is evaluated: that of KD and its own name."""
        whole = self.load(config_dir, name, f"{prefix}_{method_slug('KD')}")
        expid = f"{whole.expid.removesuffix(method_slug('KD'))}{TEACHER}"
        return replace(whole, params={**whole.params, "model_id": expid})

    @property
    def config_id(self) -> str:
        """The data set that the configurations name.

        Without its test period a data set has the configurations of the whole one: hyper-parameters
        are chosen on the first for the second.
        """
        dataset_id = self.prepared.spec.dataset_id
        return dataset_id if self.checkout.configs(dataset_id).is_dir() else whole_id(dataset_id)

    def load(
        self,
        config_dir: Path,
        name: ModelName,
        expid: str,
        overrides: dict[str, Any] | None = None,
    ) -> Experiment:
        """An experiment of a configuration folder, on the prepared data set of this benchmark.

        Args:
            config_dir: see ``config_dir``.
            name: the model; relative paths start from its folder in the zoo.
            expid: the experiment.
            overrides: params that replace those of the configuration.
        """
        shared: dict[str, Any] = {
            "verbose": 0,
            "model_root": str(self.plan.out / "checkpoints"),
            "loopfm_prepared": str(self.prepared.folder.resolve()),
        }
        dataset_id = self.prepared.spec.dataset_id
        if self.config_id != dataset_id:
            shared["dataset_id"] = self._dev_view(config_dir, name, expid)
            shared["model_id"] = expid.replace(self.config_id, dataset_id)
        if self.plan.zoo is not None:
            shared["loopfm_model_zoo"] = str(self.plan.zoo)
        if self.plan.teacher_config is not None:
            shared |= self._asked_teacher(self.plan.teacher_config, name)
        return Experiment.load(
            config_dir,
            expid,
            base_dir=self.checkout.base_dir(name.model),
            zoo=self.checkout.zoo,
            gpu=self.plan.gpu,
            overrides={**shared, **(overrides or {})},
        )

    def _asked_teacher(self, folder: Path, name: ModelName) -> dict[str, Any]:
        """The keys that name the teacher which the plan asks for."""
        expid = expids(folder)[0]
        teacher = {"loopfm_teacher_config": str(folder.absolute()), "loopfm_teacher": expid}
        return teacher | fresh_keys(folder, expid, self.checkout.base_dir(name.model))

    def _dev_view(self, config_dir: Path, name: ModelName, expid: str) -> str:
        """Id of an experiment's view on the data set without its test period."""
        whole, dev = self.config_id, self.prepared.spec.dataset_id
        params = load_params(config_dir, expid, self.checkout.base_dir(name.model))
        lists = params["dataset_id"] == lists_dataset_id(whole)
        return lists_dataset_id(dev) if lists else dev

    def config_dir(self, name: ModelName) -> Path:
        """The committed configuration folder, else one written under the output folder.

        A committed one is that of our own model: it does not fit a class of the same name in the
        plan's zoo. Nor has it sequences that the plan asks for. What was edited in a written one
        stays.

        Raises:
            ConfigError: no zoo has the model.
        """
        source = find_model(name.model, self.zoos)
        ours = find_model(name.model, [self.checkout.zoo, *self.zoos])
        dataset_id = self.config_id
        committed = self.checkout.configs(dataset_id) / folder_name(name.model, dataset_id)
        if committed.is_dir() and source == ours and not self.plan.own_sequences:
            return committed
        folder = self.plan.out / "configs"
        # Relative paths are followed through links, so they must start from where links lead.
        base = self.checkout.base_dir(name.model).resolve()
        where = self._location(base)
        teacher = self._teacher_config(base, where, folder)
        fresh = fresh_keys((base / teacher[0]).resolve(), teacher[1], base)
        target = folder / folder_name(name.model, dataset_id)
        given = (self._spec, where, self.zoos, name, teacher, fresh, self.plan.own_sequences)
        rule = rule_of(self.prepared, "vertical")
        generate(target, lambda out: write_vertical_config(out, *given, rule))
        return target

    @property
    def _spec(self) -> DatasetSpec:
        return replace(self.prepared.spec, dataset_id=self.config_id)

    def _teacher_config(self, base: Path, where: Location, folder: Path) -> tuple[str, str]:
        """(folder relative to ``base``, expid) of the teacher's configuration."""
        dataset_id = self.config_id
        expid = folder_name(self.plan.teacher, teacher_dataset_id(dataset_id))
        committed = self.checkout.configs(dataset_id) / expid
        if not committed.is_dir():
            committed = folder / expid
            # Its class is taken from our models first, see ``Experiment.load_teacher``.
            zoos = self.zoos[::-1]
            if not (committed / TRAIL).is_file():
                asked = Asked(self.plan.teacher, zoos, self.plan.teacher_minutes, self.plan.gpu)
                write_default_teacher(
                    self.checkout, self.prepared, asked, self._spec, where, folder
                )
        return os.path.relpath(committed.resolve(), base), expid

    def _location(self, base: Path) -> Location:
        """Paths as a configuration names them: relative to the script's folder."""
        prepared = self.prepared.folder.resolve()
        if self.config_id != self.prepared.spec.dataset_id:
            prepared = prepared.with_name(self.config_id)
        return location_of(self.checkout, self.config_id, prepared, base)


def _name_of(method: str, experiment: Experiment) -> str:
    """The method's name, as long as its experiment, which people edit, still is that method.

    Whatever form of distillation was chosen for a KD row, it stays KD.
    """
    keys = {**METHODS[method].keys, "loopfm_teacher": experiment.keys.teacher}
    if "loopfm_kd" in keys and experiment.keys.kd != "none":
        keys["loopfm_kd"] = experiment.keys.kd
    found = experiment.keys.method
    return method if read_keys(keys, method).method == found else found
