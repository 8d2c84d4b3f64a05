"""A new encoder, compressor, codec, loss, preparation script and command: a file and a line each.

Each file in ``tests/extension`` is one thing. They become a project of its own, a script in a
checkout and an installed package here, and run end to end through what everybody may use.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.pipeline.preparation import prepare
from tests.integration.planted import DATASET, DEEPFM_ZOO, TEACHER, log_frame, write_configs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TOYS = Path(__file__).parent / "extension"
CHOSEN: dict[str, Any] = {
    "loopfm_encoder": "decayed_mean",
    "loopfm_encoder_half_life": 1.5,
    "loopfm_compressor": "label_projection",
    "loopfm_codec": "even_steps",
    "loopfm_codec_steps": 100,
    "loopfm_kd": "squared_logit",
    "loopfm_kd_clip": 2.0,
}
# Each differs from the first in one option.
RUNS: dict[str, dict[str, Any]] = {
    "all": {},
    "other_half_life": {"loopfm_encoder_half_life": 0.25},
    "other_clip": {"loopfm_kd_clip": 0.5},
    "packed": {"loopfm_delivery": "packed"},
    "other_steps": {"loopfm_codec_steps": 3},
    "other_compressor": {"loopfm_compressor_step_size": 0.5},
}
MANY_WORKERS = {"loopfm_compressor_step_size": 0.02, "loopfm_num_shards": 2}
MISTAKES: dict[str, dict[str, Any]] = {
    "misspelt": {"loopfm_encoder_halflife": 1.0},
    "out_of_bounds": {"loopfm_codec_steps": 0},
}
EVERY_RUN = """
import runpy, sys
for expid in sys.argv[1:]:
    sys.argv = ["run_expid.py", "--config", "config", "--expid", expid]
    runpy.run_path("run_expid.py", run_name="__main__")
"""


def python(*command: str | Path, cwd: Path, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(path)])}
    arguments = [sys.executable, *map(str, command)]
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted log, made from raw files by a script that was put into a checkout."""
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / "data_prep").mkdir()
    shutil.copy(TOYS / "planted_csv.py", checkout / "data_prep")
    raw = checkout / "raw"
    raw.mkdir()
    log_frame().to_csv(raw / "log.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        made = prepare(Checkout(checkout), DATASET, raw)
    link = checkout / "data" / "prepared" / DATASET
    assert link.resolve() == made.folder.resolve()
    return link


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A project whose ``src`` registers the toys, with an expid for each run and mistake."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(TOYS / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOYS.parent / "integration" / "own_project" / "run_expid.py", folder)
    config = write_configs(folder / "config", folder, prepared)
    path = config / "model_config.yaml"
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    zoo = {"loopfm_model_zoo": str(DEEPFM_ZOO)}
    sections[TEACHER] |= zoo
    for expid, changes in {**RUNS, **MISTAKES, "many_workers": MANY_WORKERS}.items():
        sections[expid] = {**sections["kd_loopfm"], **zoo, **CHOSEN, **changes}
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def records(project: Path) -> dict[str, dict[str, Any]]:
    """The record of each expid that runs, all made by one process because that starts slowly."""
    done = python("-c", EVERY_RUN, *RUNS, cwd=project)
    assert done.returncode == 0, done.stderr
    folder = project / "records" / "config"
    texts = {expid: (folder / f"{expid}-seed2019.json").read_text() for expid in RUNS}
    return {expid: json.loads(text) for expid, text in texts.items()}


def the_store(project: Path, record: dict[str, Any]) -> Path:
    """The folder of the store that a run read."""
    stores = (project / "data" / "artifacts" / DATASET).glob("store-*")
    wanted = record["fingerprints"]["store"]
    manifests = {path: json.loads((path / "manifest.json").read_text()) for path in stores}
    (found,) = (path for path, plain in manifests.items() if plain["fingerprint"] == wanted)
    return found


def test_all_of_them_run_together(project: Path, records: dict[str, dict[str, Any]]) -> None:
    first = records["all"]
    assert (first["method"], first["encoder"]) == ("KD(squared)+LoopFM", "decayed_mean")
    assert first["metrics"]["AUC"] > 0.6
    manifest = json.loads((the_store(project, first) / "manifest.json").read_text())
    expected = {"kind": "even_steps", "dim": 4, "pad_code": [0] * 4, "steps": 100}
    assert manifest["codec"] == expected
    verified = python("-m", "fuxictr_loopfm", "verify", "data", cwd=project)
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize(
    ("expid", "remade"),
    [
        ("other_half_life", set()),
        ("other_clip", set()),
        ("other_steps", {"store"}),
        ("other_compressor", {"store", "teacher"}),
    ],
)
def test_an_option_changes_the_numbers_and_remakes_what_it_determines(
    records: dict[str, dict[str, Any]], expid: str, remade: set[str]
) -> None:
    first, other = records["all"], records[expid]
    assert other["metrics"] != first["metrics"]
    before, after = first["fingerprints"], other["fingerprints"]
    assert {name for name in ("store", "teacher") if before[name] != after[name]} == remade


def test_a_codec_that_no_table_decodes_is_decoded_by_the_loader(
    records: dict[str, dict[str, Any]],
) -> None:
    assert records["packed"]["metrics"] == records["all"]["metrics"]


def test_processes_that_a_stage_starts_know_them_too(project: Path) -> None:
    for command in ("extract", "structure"):
        options = ("--config", "config", "--expid", "many_workers", "--workers", "2")
        done = python("-m", "fuxictr_loopfm", command, *options, cwd=project)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("expid", "message"),
    [
        ("misspelt", "loopfm_encoder_halflife (did you mean 'loopfm_encoder_half_life'?)"),
        ("out_of_bounds", "loopfm_codec_steps: expected at least 1, found 0"),
    ],
)
def test_their_options_are_checked_as_ours_are(project: Path, expid: str, message: str) -> None:
    done = python("run_expid.py", "--config", "config", "--expid", expid, cwd=project)
    assert done.returncode == 1 and message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_of_an_installed_package(
    project: Path, records: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    metadata = tmp_path / "toy-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    line = "[fuxictr_loopfm.commands]\ncount-events = count_events\n"
    (metadata / "entry_points.txt").write_text(line)
    shutil.copy(TOYS / "count_events.py", tmp_path)
    command = ("-m", "fuxictr_loopfm", "count-events", the_store(project, records["all"]))
    done = python(*command, cwd=project, path=tmp_path)
    assert (done.stdout, done.stderr) == ("1333 events\n", "")
