"""Model classes by name from a folder of models, ours or a FuxiCTR clone's, unmodified."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fuxictr_loopfm.config.folders import read_yaml
from fuxictr_loopfm.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

_FIELD_KEY = re.compile(r"(^|_)fields?$")
# The first that matches counts: a negative sequence is no sequence of behaviours.
_ROLES = {
    "negative": re.compile(r"(^|_)neg(ative)?_"),
    "target": re.compile(r"(^|_)target_"),
    "sequence": re.compile(r"(^|_)(sequence|seq|history|behaviou?r)_"),
    "context": re.compile(r"(^|_)context_"),
}


def field_role(key: str) -> str | None:
    """What a model's param names by its own name.

    >>> field_role("din_target_field"), field_role("sequence_item_field")
    ('target', 'sequence')
    >>> field_role("dien_neg_seq_field"), field_role("hidden_units")
    ('negative', None)
    """
    if not _FIELD_KEY.search(key):
        return None
    return next((role for role, pattern in _ROLES.items() if pattern.search(key)), None)


def named_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params that name fields of the data set, such as ``din_sequence_field``."""
    return {key: value for key, value in params.items() if field_role(key) is not None}


def _source_folder(zoo: Path, model: str) -> Path | None:
    """Where a zoo has ``model``: a folder of its own, or the one ``src`` of a project.

    That is ``<Model>/src``, ``<Model>/<Model>_torch/src`` where both frameworks are present, or
    ``src`` if its package has a class of that name.
    """
    for folder in (zoo / model / "src", zoo / model / f"{model}_torch" / "src"):
        if (folder / "__init__.py").is_file():
            return folder
    return zoo / "src" if model in _models_of_project(zoo) else None


def import_project(folder: Path) -> ModuleType | None:
    """A project's ``src``, imported; None where there is no such package.

    Raises:
        ConfigError: importing it failed.
    """
    source = folder / "src"
    return _import_package(source) if (source / "__init__.py").is_file() else None


def import_projects(zoos: Sequence[Path]) -> None:
    """Have the projects among ``zoos`` register what they do, in a process that read no expid.

    Raises:
        ConfigError: importing one failed.
    """
    for zoo in zoos:
        import_project(zoo)


def _models_of_project(folder: Path) -> list[str]:
    """Names of the classes of a project's ``src``; none where there is no such package."""
    module = import_project(folder)
    members = {} if module is None else vars(module)
    return [name for name, value in members.items() if isinstance(value, type)]


def _known_models(zoo: Path) -> list[str]:
    folders = [path.name for path in zoo.iterdir() if _source_folder(zoo, path.name)]
    return [*folders, *_models_of_project(zoo)]


def find_model(model: str, zoos: list[Path]) -> Path:
    """Source folder of ``model`` in the first zoo that has it.

    Args:
        model: name of its class.
        zoos: folders of models, or projects with a ``src`` of their own.

    Raises:
        ConfigError: no zoo has it, and the nearest name is given; or importing a ``src`` failed.
    """
    if not str(model).isidentifier() or len(model) > 100:
        raise ConfigError(f"model: expected the name of a class, found {model!r}")
    for zoo in zoos:
        if not zoo.is_dir():
            raise ConfigError(
                f"loopfm_model_zoo: {zoo} is no folder; expected the model_zoo of a FuxiCTR clone. "
                "Correct --zoo or loopfm_model_zoo."
            )
        folder = _source_folder(zoo, model)
        if folder is not None:
            return folder
    known = sorted({name for zoo in zoos for name in _known_models(zoo)})
    hint = did_you_mean(model, known) or f"; found {known}"
    raise ConfigError(
        f"model: expected a folder with src/ in {[str(z) for z in zoos]}; found none, "
        f"model {model!r} is in none of them{hint}"
    )


def _import_package(folder: Path) -> ModuleType:
    """Import a ``src`` package under a name of its own: every model's package is called ``src``."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    name = f"loopfm_zoo_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(
            f"{folder}: importing the model failed: {type(error).__name__}: {error}"
        ) from error
    return module


def load_model_class(model: str, zoos: list[Path]) -> tuple[type[nn.Module], Path]:
    """(class, source folder) of a model.

    Raises:
        ConfigError: unknown model, failing import, or a package without a class of that name.
    """
    folder = find_model(model, zoos)
    module = _import_package(folder)
    found = getattr(module, model, None)
    if not isinstance(found, type):
        raise ConfigError(f"{folder}: expected a class {model}, found none")
    return found, folder


def default_hyper_parameters(model: str, zoos: list[Path]) -> dict[str, Any]:
    """The ``<Model>_default`` entry of the model's own ``model_config.yaml``, or nothing."""
    folder = find_model(model, zoos).parent / "config"
    path = folder / "model_config.yaml"
    if not path.is_file():
        return {}
    return dict(read_yaml(path).get(f"{model}_default") or {})
