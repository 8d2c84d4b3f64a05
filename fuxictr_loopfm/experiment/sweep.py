"""FuxiCTR's autotuner over ``loopfm_*`` and model keys, with what it leaves out made good.

FuxiCTR starts ``python`` from PATH, ignores exit codes and splits the command at blanks. Here the
interpreter is this one, and expids that left no record are named at the end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fuxictr.autotuner import enumerate_params, grid_search, load_experiment_ids

from fuxictr_loopfm.errors import ConfigError, LoopFMError
from fuxictr_loopfm.experiment.config import read_yaml
from fuxictr_loopfm.experiment.leaderboard import summarise
from fuxictr_loopfm.experiment.leaderboard_render import to_terminal, write_leaderboard
from fuxictr_loopfm.experiment.record import RunRecord, read_records


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
    if not config.exists():
        raise ConfigError(f"--config {config}: expected a tuner YAML or a folder, found none")
    config = config.resolve()
    if any(" " in str(path) for path in (config, zoo)):
        raise ConfigError(f"{config}: FuxiCTR's autotuner cannot handle blanks in paths")
    folder = _enumerated(config) if config.is_file() else config
    wanted = [e for e in load_experiment_ids(str(folder)) if tag is None or tag in e]
    if not wanted:
        raise ConfigError(f"--tag {tag}: expected part of an expid in {folder}, found no match")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
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
        raise ConfigError(f"{config}: expected keys {missing}, found {sorted(tuner)}")
    if not isinstance(tuner["tuner_space"], dict):
        found = type(tuner["tuner_space"]).__name__
        raise ConfigError(f"{config}: tuner_space: expected a mapping, found {found}")
    previous = Path.cwd()
    # enumerate_params resolves base_config from the current folder; run from the file's own.
    os.chdir(config.parent)
    try:
        return Path(enumerate_params(str(config)))
    except (RuntimeError, AssertionError, AttributeError, KeyError, TypeError) as error:
        # The host checks little of its input, and by assert.
        raise ConfigError(f"{config}: {type(error).__name__}: {error}") from error
    finally:
        os.chdir(previous)
