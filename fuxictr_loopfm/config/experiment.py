"""One experiment, read from a configuration folder and checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.device import require_device
from fuxictr_loopfm.config.folders import load_params
from fuxictr_loopfm.config.key_rules import read_keys
from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.config.param_rules import problems_of_params
from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.data.columns import ColumnPlan
from fuxictr_loopfm.errors import ConfigError

REMEDY = "Change the configuration; what each loopfm_ key means: fuxictr_loopfm/config/keys.py."


@dataclass(frozen=True)
class Experiment:
    """FuxiCTR params and ``loopfm_*`` keys of one expid.

    Attributes:
        params: FuxiCTR params with absolute paths.
        keys: the checked ``loopfm_*`` keys.
        zoos: folders searched for the model class, in order.
        base_dir: what relative paths of the configuration start from.
        config_dir: the configuration folder.
        upstream: of a teacher: the other teacher that its ``loopfm_teacher`` names, whose past
            embeddings are in its history.
        columns: what ``feature_cols`` and ``label_col`` of the params say.
    """

    params: dict[str, Any]
    keys: LoopFMKeys
    zoos: tuple[Path, ...]
    base_dir: Path
    config_dir: Path
    upstream: Experiment | None = None
    columns: ColumnPlan = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Here, so that an experiment made of another by ``replace`` has the columns of its params.
        try:
            columns = ColumnPlan.from_params(self.params)
        except ConfigError as error:
            path = self.config_dir / "dataset_config.yaml"
            raise ConfigError(
                [f"{path}: {problem}" for problem in error.problems], "Change the columns there."
            ) from None
        object.__setattr__(self, "columns", columns)

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
            ConfigError: see ``load_params`` and ``read_keys``.
        """
        config_dir = user_path(config_dir).absolute()
        params = load_params(config_dir, expid, base_dir)
        params.update(overrides or {}, gpu=gpu)
        where = f"{_model_file(config_dir)}: {expid}"
        return cls.from_params(params, where, base_dir=base_dir, zoo=zoo, config_dir=config_dir)

    @classmethod
    def from_params(
        cls,
        params: dict[str, Any],
        where: str,
        *,
        base_dir: Path | str,
        zoo: Path | str,
        config_dir: Path | str,
    ) -> Experiment:
        """The experiment of resolved params, checked.

        Args:
            params: FuxiCTR params with absolute paths.
            where: names their source in messages.
            base_dir, zoo, config_dir: see :meth:`load`.
        Raises:
            ConfigError: a key is missing, unknown or of another type, or a column is described
                wrongly.
        """
        require_device(params.get("gpu", -1))
        try:
            keys = read_keys(params, where)
        except ConfigError as error:
            raise ConfigError(error.problems, REMEDY) from None
        problems = [f"{where}: {problem}" for problem in problems_of_params(params)]
        if problems:
            raise ConfigError(problems, REMEDY)
        zoos = [Path(keys.model_zoo)] if keys.model_zoo else []
        return cls(params, keys, (*zoos, Path(zoo)), Path(base_dir), Path(config_dir))

    @property
    def expid(self) -> str:
        """The experiment's name."""
        return str(self.params["model_id"])

    @property
    def where(self) -> str:
        """File and expid, for messages."""
        return f"{_model_file(self.config_dir)}: {self.expid}"

    def load_teacher(self, asked_by: tuple[str, ...] = ()) -> Experiment | None:
        """The experiment named by ``loopfm_teacher`` and its own teachers; None if there is none.

        Args:
            asked_by: the teachers whose chain this one is in.
        Raises:
            ConfigError: it is not a teacher's experiment, or a teacher reads its own embeddings.
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
                f"{teacher.where}: loopfm_view: expected 'teacher' for an expid named by "
                f"loopfm_teacher, found {teacher.keys.view!r}. Name a teacher's expid in "
                f"loopfm_teacher of {self.expid}."
            )
        if teacher.where in asked_by:
            raise ConfigError(
                f"{self.where}: loopfm_teacher: expected a teacher that does not learn from this "
                f"one, found {self.keys.teacher!r}, which does. A teacher reads the past "
                "embeddings of another expid."
            )
        # A vertical model's zoo is the last resort, so that it never changes which class is found.
        zoos = tuple(dict.fromkeys((*teacher.zoos, *self.zoos)))
        return replace(
            teacher, zoos=zoos, upstream=teacher.load_teacher((*asked_by, teacher.where))
        )


def _model_file(config_dir: Path) -> Path:
    """What defines the experiments of a folder, for messages."""
    path = config_dir / "model_config.yaml"
    return path if path.is_file() else path.with_suffix("")
