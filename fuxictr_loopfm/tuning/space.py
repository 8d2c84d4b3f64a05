"""The stated space that a search may look through: FuxiCTR's ``tuner_space``, a list for each key.

A point is a value for each key. The search changes one key at a time, so the order of the keys in
the file is the order in which they are tried. It starts with the first value of each, but for those
that the caller gives (``starting_with``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.folders import read_yaml
from fuxictr_loopfm.config.keys import default_values
from fuxictr_loopfm.errors import ConfigError, did_you_mean

SPACE = "tuner_space"
MODEL = "model"
# A network's layers, whatever the model calls them.
WIDTHS = "hidden_units"
# Settings that belong to the data set's columns, not to the model.
DATA_KEYS = ("min_categr_count",)
_READ_WITH_A_HISTORY = ("loopfm_encoder", "loopfm_max_len")
_REMEDY = (
    "A space has lists of values under tuner_space, as FuxiCTR's tuner files do; "
    "benchmark_configs/teacher_space.yaml is the default one."
)

Point = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """Values by key, in the order in which keys are tried.

    Attributes:
        values: at least one value for each key.
        where: names its source in messages.
    """

    values: Mapping[str, tuple[Any, ...]]
    where: str

    @classmethod
    def read(cls, path: Path) -> Space:
        """Read a YAML file.

        Raises:
            ConfigError: no such file, no ``tuner_space``, or an entry that is no list of values.
        """
        found = read_yaml(path)
        space = found.get(SPACE)
        if not isinstance(space, dict) or not space:
            raise ConfigError(f"{path}: {SPACE}: expected lists of values by key", _REMEDY)
        problems = [
            f"{path}: {SPACE}: {key}: expected a list of values, found {value!r}"
            for key, value in space.items()
            if not isinstance(value, list) or not value
        ]
        if MODEL not in space:
            problems.append(f"{path}: {SPACE}: {MODEL}: expected a list of model classes")
        if problems:
            raise ConfigError(problems, _REMEDY)
        return cls({str(key): tuple(values) for key, values in space.items()}, str(path))

    @property
    def start(self) -> Point:
        """The first value of each key."""
        return {key: values[0] for key, values in self.values.items()}

    def starting_with(self, params: Mapping[str, Any]) -> Space:
        """The same space, whose search starts with these values of its keys."""
        given = {key: params[key] for key in self.values if key in params}
        values = {
            key: (given[key], *(v for v in found if v != given[key])) if key in given else found
            for key, found in self.values.items()
        }
        return Space(values, self.where)

    def neighbours(self, point: Point, key: str) -> Iterator[Point]:
        """The points that differ from ``point`` in one key."""
        for value in self.values[key]:
            if value != point[key]:
                yield {**point, key: value}

    def check(self, params: Mapping[str, Any]) -> None:
        """Refuse keys that a model does not have, before hours of trials that would ignore them.

        Args:
            params: the model's FuxiCTR params.
        Raises:
            ConfigError: names each such key.
        """
        known = {*params, *default_values(), *DATA_KEYS, MODEL, WIDTHS}
        problems = [
            f"{self.where}: {SPACE}: {key}: expected a key of {params[MODEL]} or a loopfm_ key"
            + did_you_mean(key, known)
            for key in self.values
            if key not in known
        ]
        if problems:
            raise ConfigError(problems, _REMEDY)


def what_counts(point: Point) -> Point:
    """A point without the keys that nothing reads, so that two equal trials are seen to be one."""
    if point.get("loopfm_history") is not None or "loopfm_history" not in point:
        return dict(point)
    return {key: value for key, value in point.items() if key not in _READ_WITH_A_HISTORY}
