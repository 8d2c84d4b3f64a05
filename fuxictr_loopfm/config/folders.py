"""Reading FuxiCTR configuration folders, safely and with messages that name the file.

The format is FuxiCTR's own: ``model_config.yaml`` with ``Base`` and expids, ``dataset_config.yaml``
with dataset ids, or folders of such files. FuxiCTR reads them with a loader that can build Python
objects; here it is plain YAML with the tuples of the BARS configs, see ``plain_text``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fuxictr_loopfm.config.paths import absolute_path, user_path
from fuxictr_loopfm.data.pretrained import PRETRAINED
from fuxictr_loopfm.errors import ConfigError, did_you_mean
from fuxictr_loopfm.files.plain_text import PlainTextError, load_yaml
from fuxictr_loopfm.files.scalars import numbers_of_another_base

PATH_KEYS = (
    "data_root",
    "model_root",
    "train_data",
    "valid_data",
    "test_data",
    "loopfm_prepared",
    "loopfm_prepare",
    "loopfm_raw_data",
    "loopfm_model_zoo",
    "loopfm_teacher_config",
)


# A name becomes part of paths and, in a sweep, of a command that FuxiCTR splits at blanks.
_NAME = re.compile(r"[^\s/\\.\x00-\x1f\x7f-][^\s/\\\x00-\x1f\x7f]{0,199}")


_REMEDY = "Correct the file: plain YAML in UTF-8, indented by blanks, a name and its keys."


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A YAML mapping.

    Raises:
        ConfigError: the file is missing, unreadable, no plain YAML, or no mapping.
    """
    path = Path(path)
    try:
        value = load_yaml(path)
        problems = numbers_of_another_base(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected a YAML file, found none. Check the path.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except PlainTextError as error:
        raise ConfigError(f"{path}: {error}", _REMEDY) from None
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise ConfigError(f"{path}: expected a mapping at the top, found {found}", _REMEDY)
    if problems:
        raise ConfigError(problems)
    return value


def _sections(config_dir: Path, kind: str) -> tuple[dict[str, Any], list[Path]]:
    files = [config_dir / f"{kind}.yaml"]
    if not files[0].is_file():
        files = sorted((config_dir / kind).glob("*.yaml"))
    if not files:
        raise ConfigError(
            f"{config_dir}: expected {kind}.yaml or {kind}/*.yaml, found neither. "
            "Give a FuxiCTR configuration folder."
        )
    sections: dict[str, Any] = {}
    for path in files:
        sections.update(read_yaml(path))
    return sections, files


def expids(config_dir: Path | str) -> list[str]:
    """Names of the experiments that a configuration folder defines, in file order.

    Raises:
        ConfigError: a file of the folder is not plain YAML, or a name is none. FuxiCTR's tuner
            reads the folder again with a loader that trusts it, so data sets are read here too.
    """
    config_dir = user_path(config_dir).absolute()
    sections, files = _sections(config_dir, "model_config")
    _sections(config_dir, "dataset_config")
    names = [name for name in sections if name != "Base"]
    for name in names:
        _require_name("expid", name, files[0])
    return names


def datasets(config_dir: Path | str) -> dict[str, Any]:
    """The data sets that a configuration folder describes, by id.

    Raises:
        ConfigError: a file of the folder is not plain YAML.
    """
    return _sections(Path(config_dir), "dataset_config")[0]


def load_params(config_dir: Path | str, expid: str, base_dir: Path | str) -> dict[str, Any]:
    """FuxiCTR params of one expid: Base, then the expid, then its data set.

    Args:
        config_dir: folder with the YAML files.
        expid: a name in ``model_config.yaml``.
        base_dir: folder that relative paths in the files start from, as in FuxiCTR the folder of
            the script that is run.
    Raises:
        ConfigError: folder, expid or dataset id unknown; the nearest known one is named.
    """
    config_dir = user_path(config_dir).absolute()
    models, model_files = _sections(config_dir, "model_config")
    if expid not in models or expid == "Base":
        raise ConfigError(_unknown("expid", expid, models, model_files[0]))
    params = {
        **_section(models, "Base", model_files[0]),
        **_section(models, expid, model_files[0]),
    }
    if "dataset_id" not in params:
        raise ConfigError(
            f"{model_files[0]}: {expid}: expected a key dataset_id, found none. Name a data set of "
            "dataset_config.yaml."
        )
    datasets, dataset_files = _sections(config_dir, "dataset_config")
    dataset_id = str(params["dataset_id"])
    _require_name("expid", expid, model_files[0])
    _require_name("dataset_id", dataset_id, model_files[0])
    if dataset_id not in datasets:
        raise ConfigError(_unknown("dataset_id", dataset_id, datasets, dataset_files[0]))
    params.update(_section(datasets, dataset_id, dataset_files[0]))
    params.update(model_id=expid, dataset_id=dataset_id)
    for key in PATH_KEYS:
        if isinstance(params.get(key), str):
            if "\0" in params[key]:
                raise ConfigError(f"{config_dir}: {expid}: {key}: expected a path, found a NUL")
            params[key] = str(absolute_path(params[key], base_dir))
    if "feature_cols" in params:
        params["feature_cols"] = _with_absolute_paths(params["feature_cols"], base_dir)
    return params


def _with_absolute_paths(columns: Any, base_dir: Path | str) -> Any:
    """``feature_cols`` whose ``pretrained_emb`` do not depend on the current folder."""
    if not isinstance(columns, list):
        return columns
    return [
        {**column, PRETRAINED: str(absolute_path(column[PRETRAINED], base_dir))}
        if isinstance(column, dict) and isinstance(column.get(PRETRAINED), str)
        else column
        for column in columns
    ]


def _section(sections: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    section = sections.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        found = type(section).__name__
        raise ConfigError(f"{path}: {name}: expected a mapping, found {found}", _REMEDY)
    return section


def _require_name(kind: str, name: object, path: Path) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{path}: {kind}: expected a name of at most 200 characters without blanks, slashes "
            f"and control characters, not beginning with '.' or '-', found {name!r}. Rename it."
        )


def _unknown(kind: str, name: str, sections: dict[str, Any], path: Path) -> str:
    known = [str(key) for key in sections]
    hint = did_you_mean(name, known) or f"; found {known}"
    return f"{path}: {kind} {name!r} is not defined{hint}"
