"""One experiment, read from a configuration folder and checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuxictr_loopfm.data.columns import ColumnPlan
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.experiment.config import load_params
from fuxictr_loopfm.experiment.keys import LoopFMKeys

REQUIRED = ("model", "model_root", "data_root", "feature_cols", "label_col", "batch_size")
WHOLE_NUMBERS = ("batch_size", "embedding_dim", "epochs", "seed")


@dataclass(frozen=True)
class Experiment:
    """FuxiCTR params and ``loopfm_*`` keys of one expid.

    Attributes:
        params: FuxiCTR params with absolute paths.
        keys: the checked ``loopfm_*`` keys.
        zoos: folders searched for the model class, in order.
        base_dir: what relative paths of the configuration start from.
        config_dir: the configuration folder.
    """

    params: dict[str, Any]
    keys: LoopFMKeys
    zoos: tuple[Path, ...]
    base_dir: Path
    config_dir: Path

    @classmethod
    def load(
        cls,
        config_dir: Path | str,
        expid: str,
        *,
        base_dir: Path | str,
        zoo: Path | str,
        gpu: int = -1,
        overrides: dict[str, Any] | None = None,
    ) -> Experiment:
        """Read an expid.

        Args:
            config_dir: folder with FuxiCTR YAML files.
            expid: the experiment's name.
            base_dir: what relative paths start from.
            zoo: our ``model_zoo`` folder; ``loopfm_model_zoo`` is searched before it.
            gpu: GPU index, -1 for the CPU.
            overrides: params that replace the file's, for example a seed.
        Raises:
            ConfigError: see ``load_params`` and ``LoopFMKeys.from_params``.
        """
        params = load_params(config_dir, expid, base_dir)
        params.update(overrides or {}, gpu=gpu)
        keys = LoopFMKeys.from_params(params, f"{config_dir}: {expid}")
        problems = [
            f"{config_dir}: {expid}: expected a key {name}, found none"
            for name in REQUIRED
            if params.get(name) is None
        ]
        problems += [
            f"{config_dir}: {expid}: {name}: expected a whole number, found {params[name]!r}"
            for name in WHOLE_NUMBERS
            if not isinstance(params.get(name, 0), int)
        ]
        if problems:
            raise ConfigError(problems)
        ColumnPlan.from_params(params)
        zoos = [Path(keys.model_zoo)] if keys.model_zoo else []
        return cls(params, keys, (*zoos, Path(zoo)), Path(base_dir), Path(config_dir))

    @property
    def expid(self) -> str:
        """The experiment's name."""
        return str(self.params["model_id"])

    def load_teacher(self) -> Experiment | None:
        """The experiment named by ``loopfm_teacher``, None if there is none.

        Raises:
            ConfigError: it is not a teacher's experiment.
        """
        if self.keys.teacher is None:
            return None
        folder = Path(self.keys.teacher_config or self.config_dir)
        teacher = Experiment.load(
            folder,
            self.keys.teacher,
            base_dir=self.base_dir,
            zoo=self.zoos[-1],
            gpu=self.params["gpu"],
        )
        if teacher.keys.view != "teacher":
            raise ConfigError(
                f"{folder}: {teacher.expid}: loopfm_view: expected 'teacher' for an expid named by "
                f"loopfm_teacher, found {teacher.keys.view!r}"
            )
        # A vertical model's zoo is the last resort, so that it never changes which class is found.
        return replace(teacher, zoos=tuple(dict.fromkeys((*teacher.zoos, *self.zoos))))
