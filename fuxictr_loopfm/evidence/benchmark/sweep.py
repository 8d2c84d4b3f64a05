"""FuxiCTR's autotuner over ``loopfm_*`` and model keys, with what it leaves out made good.

FuxiCTR starts ``python`` from PATH, ignores exit codes and splits the command at blanks. Here the
interpreter is this one, and expids that left no record are named at the end.
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
from fuxictr.autotuner import enumerate_params, grid_search

from fuxictr_loopfm.config.device import require_device
from fuxictr_loopfm.config.folders import expids, read_yaml
from fuxictr_loopfm.errors import ConfigError, LoopFMError
from fuxictr_loopfm.evidence.leaderboard.render import to_terminal, write_leaderboard
from fuxictr_loopfm.evidence.leaderboard.rows import summarise
from fuxictr_loopfm.files.atomic import atomic_path, scratch_dir
from fuxictr_loopfm.prepared.parts import did_you_mean
from fuxictr_loopfm.records.record import RunRecord, read_records

_REMEDY = (
    "A tuner file has base_config, base_expid, and in tuner_space lists of values for keys that "
    "base_expid or its data set has."
)


def sweep(config: Path, gpus: Sequence[int], tag: str | None, zoo: Path) -> list[RunRecord]:
    """Run a tuner file, or a folder that was enumerated before.

    Args:
        config: tuner YAML or folder of configurations.
        gpus: one process per entry; repeat -1 for parallel CPU runs.
        tag: only expids that contain it.
        zoo: our ``model_zoo`` folder, whose ``run_expid.py`` runs each point.
    Returns:
        The records of the sweep.
    Raises:
        ConfigError: no such file, blanks in the path, or no expid has the tag.
        LoopFMError: some points failed; they are named.
    """
    for gpu in gpus:
        require_device(gpu)
    if not config.exists():
        raise ConfigError(
            f"--config {config}: expected a tuner YAML or a folder, found none. Check the path."
        )
    config = config.resolve()
    if any(" " in str(path) for path in (config, zoo)):
        raise ConfigError(
            f"{config}: expected paths without blanks, which FuxiCTR's autotuner cannot handle, "
            "found one. Move the file or the checkout."
        )
    folder = _enumerated(config) if config.is_file() else config
    wanted = [e for e in expids(folder) if tag is None or tag in e]
    if not wanted:
        raise ConfigError(
            f"--tag {tag}: expected part of an expid in {folder}, found no match; "
            f"choose among {expids(folder)}"
        )
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with _processes_end_with_this_one():
        grid_search(str(folder), list(gpus), expid_tag=tag, script=str(zoo / "run_expid.py"))
    results = zoo / "records" / folder.name
    records = [r for r in read_records([results]) if r.expid in wanted] if results.exists() else []
    missing = sorted(set(wanted) - {record.expid for record in records})
    if missing:
        raise LoopFMError(
            f"{folder}: {len(missing)} of {len(wanted)} experiments left no record: {missing}. "
            "Their own messages stand above; the command can be repeated."
        )
    write_leaderboard(records, results)
    print(to_terminal(summarise(records)))
    return records


def _enumerated(config: Path) -> Path:
    """The folder of configurations that FuxiCTR makes of a tuner file."""
    tuner = read_yaml(config)
    missing = [key for key in ("tuner_space", "base_expid") if key not in tuner]
    if missing:
        raise ConfigError(f"{config}: expected keys {missing}, found {list(tuner)}", _REMEDY)
    if not isinstance(tuner["tuner_space"], dict):
        found = type(tuner["tuner_space"]).__name__
        raise ConfigError(f"{config}: tuner_space: expected a mapping, found {found}", _REMEDY)
    if "model_config" not in tuner:
        # The host reads these with a loader that builds Python objects: only after ours did.
        try:
            known = expids(config.parent / str(tuner.get("base_config", ".")))
        except ConfigError as error:
            raise ConfigError(
                [f"{config}: base_config: {text}" for text in error.problems]
            ) from error
        if tuner["base_expid"] not in known:
            base = tuner["base_expid"]
            raise ConfigError(
                f"{config}: base_expid: expected one of {known}, found {base!r}"
                f"{did_you_mean(str(base), known)}"
            )
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
        made = Path(enumerate_params(str(copied)))
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
