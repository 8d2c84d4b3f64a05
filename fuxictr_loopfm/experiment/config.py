"""Reading FuxiCTR configuration folders, safely and with messages that name the file.

The format is FuxiCTR's own: ``model_config.yaml`` with ``Base`` and expids, ``dataset_config.yaml``
with dataset ids, or folders of such files. FuxiCTR reads them with a loader that can build Python
objects; this one knows plain YAML and the tuples of the BARS configs, nothing else.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml

from fuxictr_loopfm.errors import ConfigError

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


class _ConfigLoader(yaml.SafeLoader):
    """Safe YAML plus ``!!python/tuple``, which BARS configs use for grouped fields."""


def _tuple(loader: _ConfigLoader, node: yaml.Node) -> tuple[Any, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.constructor.ConstructorError(None, None, "a tuple needs a list", node.start_mark)
    return tuple(loader.construct_sequence(node, deep=True))


_ConfigLoader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A YAML mapping.

    Raises:
        ConfigError: the file is missing, unreadable, no YAML, or no mapping.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as stream:
            value = yaml.load(stream, Loader=_ConfigLoader)  # noqa: S506 a SafeLoader
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected a YAML file, found none") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not plain YAML: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, found {type(value).__name__}")
    return value


def _sections(config_dir: Path, kind: str) -> tuple[dict[str, Any], list[Path]]:
    files = [config_dir / f"{kind}.yaml"]
    if not files[0].is_file():
        files = sorted((config_dir / kind).glob("*.yaml"))
    if not files:
        raise ConfigError(
            f"{config_dir}: expected {kind}.yaml or {kind}/*.yaml, found neither. "
            "Give --config a FuxiCTR configuration folder."
        )
    sections: dict[str, Any] = {}
    for path in files:
        sections.update(read_yaml(path))
    return sections, files


def expids(config_dir: Path | str) -> list[str]:
    """Names of the experiments that a configuration folder defines, in file order."""
    sections, _ = _sections(Path(config_dir), "model_config")
    return [name for name in sections if name != "Base"]


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
    config_dir = Path(config_dir)
    models, model_files = _sections(config_dir, "model_config")
    if expid not in models or expid == "Base":
        raise ConfigError(_unknown("expid", expid, list(models), model_files[0]))
    params = {
        **_section(models, "Base", model_files[0]),
        **_section(models, expid, model_files[0]),
    }
    if "dataset_id" not in params:
        raise ConfigError(f"{model_files[0]}: {expid}: expected a key dataset_id, found none")
    datasets, dataset_files = _sections(config_dir, "dataset_config")
    dataset_id = str(params["dataset_id"])
    if dataset_id not in datasets:
        raise ConfigError(_unknown("dataset_id", dataset_id, list(datasets), dataset_files[0]))
    params.update(_section(datasets, dataset_id, dataset_files[0]))
    params.update(model_id=expid, dataset_id=dataset_id)
    for key in PATH_KEYS:
        if isinstance(params.get(key), str):
            params[key] = str((Path(base_dir) / params[key]).resolve())
    return params


def _section(sections: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    section = sections.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        found = type(section).__name__
        raise ConfigError(f"{path}: {name}: expected a mapping, found {found}")
    return section


def _unknown(kind: str, name: str, known: list[str], path: Path) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"found {known}"
    return f"{path}: {kind} {name!r} is not defined; {hint}"
