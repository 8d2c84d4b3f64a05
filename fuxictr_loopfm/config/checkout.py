"""Where a checkout keeps its parts, and which preparation script makes which data set.

Benchmarks, the paper's tables and the public logs need one; a project of the user's own does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fuxictr_loopfm.errors import ConfigError, did_you_mean

ZOO = "model_zoo"
_DATASET_ID = re.compile(r"^DATASET_ID\s*=\s*[\"']([^\"']+)[\"']", flags=re.MULTILINE)


@dataclass(frozen=True)
class Checkout:
    """The folders beside the package: models, preparation scripts, configurations, data."""

    root: Path

    @classmethod
    def find(cls) -> Checkout:
        """The checkout the package runs from, else the current folder.

        Raises:
            ConfigError: neither has ``model_zoo`` and ``data_prep``. An installed FuxiCTR puts a
                ``model_zoo`` beside the package, so that alone proves nothing.
        """
        for root in (Path(__file__).resolve().parents[2], Path.cwd()):
            if (root / ZOO).is_dir() and (root / "data_prep").is_dir():
                return cls(root)
        raise ConfigError(
            "expected to run inside a fuxictr_loopfm checkout with model_zoo/ and data_prep/, "
            f"found neither beside the package nor in {Path.cwd()}"
        )

    @classmethod
    def find_if_any(cls) -> Checkout | None:
        """The same, or None for an installed package that runs without a checkout."""
        try:
            return cls.find()
        except ConfigError:
            return None

    @property
    def zoo(self) -> Path:
        """Our models."""
        return self.root / ZOO

    @property
    def data_root(self) -> Path:
        """Prepared data, encoded views and artifacts; never committed."""
        return self.root / "data"

    def base_dir(self, model: str) -> Path:
        """What relative paths in a configuration of ``model`` start from: its script's folder.

        A model of another zoo has no folder here; the paths count from where it would be.
        """
        return self.zoo / model

    def prepared(self, dataset_id: str) -> Path:
        """Folder of a prepared data set."""
        return self.data_root / "prepared" / dataset_id

    def configs(self, dataset_id: str) -> Path:
        """Folder of the committed configurations of a data set."""
        return self.root / "benchmark_configs" / dataset_id

    def scripts(self) -> dict[str, Path]:
        """Preparation script by data set id; read as text, not imported."""
        found = {}
        for path in sorted((self.root / "data_prep").glob("*.py")):
            match = _DATASET_ID.search(path.read_text(encoding="utf-8"))
            if match:
                found[match.group(1)] = path
        return found

    def script(self, dataset_id: str) -> Path:
        """The script that prepares ``dataset_id``.

        Raises:
            ConfigError: no script does.
        """
        scripts = self.scripts()
        if dataset_id not in scripts:
            hint = did_you_mean(dataset_id, scripts) or f"; known: {sorted(scripts)}"
            raise ConfigError(
                f"DATASET={dataset_id}: no script in data_prep/ makes it{hint}. For a log of your "
                "own run data_prep/custom.py first, for an Amazon category "
                "data_prep/amazon_reviews.py, and give its output folder as DATA."
            )
        return scripts[dataset_id]
