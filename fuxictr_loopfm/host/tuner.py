"""FuxiCTR's autotuner, with what it leaves out made good.

FuxiCTR starts ``python`` from PATH, forgets its processes when it is stopped, and writes the folder
of an enumerated tuner file while it goes. Here the interpreter is this one, processes end with this
one, and the folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from fuxictr import autotuner

from fuxictr_loopfm.config.folders import expids, read_yaml
from fuxictr_loopfm.errors import ConfigError, did_you_mean
from fuxictr_loopfm.files.atomic import atomic_path, scratch_dir

_REMEDY = (
    "A tuner file has base_config, base_expid, and in tuner_space lists of values for keys that "
    "base_expid or its data set has."
)


def run_grid(folder: Path, gpus: Sequence[int], tag: str | None, script: Path) -> None:
    """Run the experiments of a configuration folder, one process at a time per entry of ``gpus``.

    FuxiCTR ignores exit codes: whether an experiment succeeded shows in what it wrote.

    Args:
        folder: configuration folder; its path has no blanks.
        gpus: GPU indices; repeat -1 for parallel CPU runs.
        tag: only expids that contain it, None for all.
        script: the ``run_expid.py`` that runs each experiment; its path has no blanks.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with _processes_end_with_this_one():
        autotuner.grid_search(str(folder), list(gpus), expid_tag=tag, script=str(script))


def enumerated(config: Path) -> Path:
    """Write the folder of configurations that FuxiCTR makes of a tuner file; returns its path.

    Raises:
        ConfigError: the file names no grid over an experiment's keys.
    """
    tuner = read_yaml(config)
    _require_tuner(config, tuner)
    previous = Path.cwd()
    # enumerate_params resolves base_config from the current folder; run from the file's own.
    os.chdir(config.parent)
    try:
        return _enumerate_whole(config, "base_config" in tuner)
    except (RuntimeError, AssertionError, AttributeError, KeyError, TypeError) as error:
        # The host checks little of its input, and by assert.
        raise ConfigError(f"{config}: found {type(error).__name__}: {error}", _REMEDY) from error
    finally:
        os.chdir(previous)


def _require_tuner(config: Path, tuner: dict[str, object]) -> None:
    missing = [key for key in ("tuner_space", "base_expid") if key not in tuner]
    if missing:
        raise ConfigError(f"{config}: expected keys {missing}, found {list(tuner)}", _REMEDY)
    if not isinstance(tuner["tuner_space"], dict):
        found = type(tuner["tuner_space"]).__name__
        raise ConfigError(f"{config}: tuner_space: expected a mapping, found {found}", _REMEDY)
    if "model_config" in tuner:
        return
    # The host reads these with a loader that builds Python objects: only after ours did.
    try:
        known = expids(config.parent / str(tuner.get("base_config", ".")))
    except ConfigError as error:
        raise ConfigError([f"{config}: base_config: {text}" for text in error.problems]) from error
    if tuner["base_expid"] not in known:
        base = tuner["base_expid"]
        raise ConfigError(
            f"{config}: base_expid: expected one of {known}, found {base!r}"
            f"{did_you_mean(str(base), known)}"
        )


def _enumerate_whole(config: Path, names_its_base: bool) -> Path:
    """Enumerate a copy of the file, then move the results in place.

    The host writes where it reads, and half of a file of configurations is a valid file: a killed
    process would leave a folder that holds a part of the sweep.
    """
    folder = config.with_suffix("")
    with scratch_dir(config.parent) as scratch:
        copied = scratch / config.name
        base = "" if names_its_base else f"\nbase_config: {json.dumps(str(config.parent))}\n"
        copied.write_text(config.read_text(encoding="utf-8") + base, encoding="utf-8")
        made = Path(autotuner.enumerate_params(str(copied)))
        for name in ("dataset_config.yaml", "model_config.yaml"):
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(made / name, temporary)
    return folder


@contextmanager
def _processes_end_with_this_one() -> Iterator[None]:
    """Stop the processes of ``grid_search``, which keeps them to itself, when it is stopped."""
    started: list[subprocess.Popen[bytes]] = []

    def popen(command: list[str]) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command))
        return started[-1]

    autotuner.subprocess = SimpleNamespace(Popen=popen)
    try:
        yield
    except BaseException:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
        raise
    finally:
        autotuner.subprocess = subprocess
