"""A FuxiCTR project: the folder of a ``run_expid.py``, and where its models are.

Three layouts are known::

    my_project/run_expid.py  src/  config/              a project of its own; src/ has the models
                                                        and registers encoders and the like
    model_zoo/<Model>/run_expid.py  src/  config/       FuxiCTR's zoo, ours or a clone's
    model_zoo/run_expid.py                              one script for all models of a zoo
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.checkout import ZOO, Checkout
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.paths import absolute_path
from fuxictr_loopfm.config.zoo import import_project

SCRIPT = "run_expid.py"


@dataclass(frozen=True)
class Project:
    """Where an experiment's files are.

    Attributes:
        base_dir: what relative paths of a configuration start from; as in FuxiCTR the folder of
            the script.
        zoo: searched for a model's class, see ``find_model``.
    """

    base_dir: Path
    zoo: Path

    @classmethod
    def of_script(cls, script: Path | str) -> Project:
        """The project that a ``run_expid.py`` belongs to.

        Args:
            script: its path; it need not be called ``run_expid.py``.
        """
        folder = Path(script).resolve().parent
        if folder.name == ZOO:
            # Configurations are written for model_zoo/<Model>, whichever script reads them.
            return cls(folder / "any", folder)
        return cls(folder, folder.parent if folder.parent.name == ZOO else folder)

    @classmethod
    def of_config(cls, config: Path | str) -> Project:
        """The project of a configuration folder, for commands that no script started.

        It is that of the nearest ``run_expid.py`` above the folder; else the checkout that the
        package runs from; else the current folder.
        """
        for folder in absolute_path(config).parents:
            if (folder / SCRIPT).is_file():
                return cls.of_script(folder / SCRIPT)
        checkout = Checkout.find_if_any()
        if checkout is not None:
            return cls(checkout.base_dir("model"), checkout.zoo)
        return cls.of_script(Path.cwd() / SCRIPT)

    def load(
        self,
        config: Path | str,
        expid: str,
        *,
        gpu: int = -1,
        overrides: dict[str, Any] | None = None,
    ) -> Experiment:
        """Read an expid; first the project's ``src`` registers what the configuration may name.

        Args:
            config: configuration folder, relative to the current folder.
            expid: the experiment's name.
            gpu: GPU index, -1 for the CPU.
            overrides: params that replace the file's.

        Raises:
            ConfigError: see ``Experiment.load``; or importing ``src`` failed.
        """
        import_project(self.zoo)
        return Experiment.load(
            config, expid, base_dir=self.base_dir, zoo=self.zoo, gpu=gpu, overrides=overrides
        )
