"""The six stages as commands on a tiny log, and the states they start from.

Everything lies in one folder, ``work``, at a path that never changes, because configurations hold
paths: a state is a copy of that folder which is put back before an attempt.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import yaml
from fuxictr import autotuner

from fuxictr_loopfm.commands import cli
from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.runs import run_expid
from tests.integration.planted import DEEPFM_ZOO, write_configs, write_log
from tests.torture.forked import CRASHED, Command, Ended, run
from tests.torture.whole import Digests, digests

ROOT = Path(__file__).resolve().parents[2]
EXPID, TEACHER = "kd_loopfm", "teacher"
PREPARED_ID = "Tiny_s1"
_FRESH = "fresh"
_TINY = f"""
DATASET_ID = "{PREPARED_ID}"
import sys
from pathlib import Path
sys.path.insert(0, "{ROOT / "data_prep"}")
import custom
raw, out = (sys.argv[sys.argv.index(name) + 1] for name in ("--data", "--out"))
sys.exit(custom.cli(["--spec", str(Path(raw, "spec.yaml")), "--out", out]))
"""


@dataclass(frozen=True)
class Stage:
    """A command and the state it starts from.

    Attributes:
        name: of the stage.
        state: from which it starts: a stage's name, for what that one left, or "fresh".
        command: what is run, in a folder ``work``.
        is_counted: False for a stage that only makes the state of another.
    """

    name: str
    state: str
    command: Callable[[Path], None]
    is_counted: bool = True


class World:
    """The folder ``work``, and a copy of it for each state.

    Args:
        folder: for the states and what commands print.
        work: on another disk, if not below ``folder``.
    """

    def __init__(self, folder: Path, work: Path | None = None) -> None:
        self.work, self._states = work or folder / "work", folder / "states"
        self.output = folder / "output.txt"
        self._states.mkdir(parents=True)
        _write_fresh(self.work)
        self.keep(_FRESH)

    def keep(self, name: str) -> None:
        """Make what is in ``work`` a state."""
        shutil.copytree(self.work, self._states / name, symlinks=True)

    def restore(self, name: str) -> None:
        """Put a state back."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self._states / name, self.work, symlinks=True)

    def command(self, stage: Stage) -> Command:
        """A stage's command, for a forked process."""
        return lambda: stage.command(self.work)

    def allowed(self, stage: Stage) -> list[Digests]:
        """What may be read while a stage's command is at it: the files before and after it."""
        found = []
        for state in (stage.state, stage.name):
            self.restore(state)
            found.append(digests(self.work))
        return found

    def make_states(self) -> dict[str, Ended]:
        """Run every stage undisturbed; how each ended.

        Raises:
            RuntimeError: one failed, so there is nothing to torture.
        """
        found = {}
        for stage in STAGES:
            self.restore(stage.state)
            found[stage.name] = ended = run(self.command(stage), self.output)
            if ended.code != 0:
                raise RuntimeError(f"{stage.name} fails undisturbed ({ended.code}): {ended.text}")
            self.keep(stage.name)
        return found


def _write_fresh(work: Path) -> None:
    """A prepared log and its configurations, a raw log, a checkout and a model zoo."""
    prepared = write_log(work / "prepared" / "Planted_s1")
    config = write_configs(work / "configs", work, prepared.folder)
    zoo = work / "model_zoo"
    (zoo / "DeepFM").mkdir(parents=True)
    (zoo / "DeepFM" / "src").symlink_to(DEEPFM_ZOO / "DeepFM" / "src")
    for name in ("run_expid.py", "run_param_tuner.py"):
        shutil.copyfile(DEEPFM_ZOO / name, zoo / name)
    tuner = {
        "base_config": str(config),
        "base_expid": EXPID,
        "tuner_space": {
            "loopfm_encoder": ["mean", "din"],
            "loopfm_teacher_config": str(config),
        },
    }
    (work / "tuner.yaml").write_text(yaml.safe_dump(tuner), encoding="utf-8")
    (work / "checkout" / "model_zoo").mkdir(parents=True)
    (work / "checkout" / "data_prep").mkdir()
    (work / "checkout" / "data_prep" / "tiny.py").write_text(_TINY, encoding="utf-8")
    for number, raw in enumerate(("raw", "raw_of_tomorrow")):
        _write_raw(work / raw, 120 + 40 * number)


def _write_raw(folder: Path, rows: int) -> None:
    """A log and the description that ``data_prep/custom.py`` reads."""
    folder.mkdir()
    index = np.arange(rows)
    pd.DataFrame(
        {
            "user_id": [f"u{row % 7}" for row in index],
            "item_id": [f"i{row % 11}" for row in index],
            "shown_at": 1_700_000_000 + index * 60,
            "clicked": index // 7 % 2,
        }
    ).to_csv(folder / "log.csv", index=False)
    spec = {
        "dataset_id": PREPARED_ID,
        "log": "log.csv",
        "user": "user_id",
        "item": "item_id",
        "time": {"column": "shown_at", "unit": "s"},
        "label": "clicked",
        "vertical": ["user_id", "item_id"],
        "history": {"name": "past_items", "max_len": 3},
        "periods": {"kind": "chunks", "count": 4},
        "teacher_periods": 2,
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")


def _prepare(raw: str) -> Callable[[Path], None]:
    def command(work: Path) -> None:
        Checkout.find = classmethod(lambda cls: cls(work / "checkout"))  # type: ignore[assignment]
        cli.main(["prepare", "--dataset", PREPARED_ID, "--data", str(work / raw)])

    return command


def _run_expid(expid: str) -> Callable[[Path], None]:
    def command(work: Path) -> None:
        script = str(work / "model_zoo" / "run_expid.py")
        sys.argv = [script, "--expid", expid]
        run_expid.main(script, ["--config", str(work / "configs"), "--expid", expid])

    return command


def _loopfm(name: str, *more: str) -> Callable[[Path], None]:
    def command(work: Path) -> None:
        options = ["--config", str(work / "configs"), "--expid", EXPID]
        os.chdir(work)
        cli.main([name, *options, *more])

    return command


def _sweep(work: Path) -> None:
    """Two points, one after the other."""
    script = work / "model_zoo" / "run_param_tuner.py"
    found = importlib.util.spec_from_file_location("tuner", script)
    if found is None or found.loader is None:
        raise SystemExit(CRASHED)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    # FuxiCTR looks every three seconds whether a process has ended.
    autotuner.time = SimpleNamespace(sleep=lambda _seconds: _short_sleep(0.01))
    sys.argv = [str(script), "--config", str(work / "tuner.yaml"), "--gpu", "-1"]
    module.main()


_short_sleep = autotuner.time.sleep

# Later ones start from what earlier ones left.
STAGES = (
    Stage("first preparation", _FRESH, _prepare("raw"), is_counted=False),
    Stage("prepare", "first preparation", _prepare("raw_of_tomorrow")),
    Stage("train the teacher", _FRESH, _run_expid(TEACHER)),
    Stage("extract", "train the teacher", _loopfm("extract")),
    Stage("structure", "extract", _loopfm("structure")),
    Stage("export", "structure", _loopfm("export", "--out", "exported")),
    Stage("train", "structure", _run_expid(EXPID)),
    Stage("sweep", "train", _sweep),
)
