"""Two benchmarks of one data set id on different raw files, side by side in one checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from planted import BENCHMARK, DATASET, DEEPFM_ZOO, TEACHER_DATASET, log_frame

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.evidence.benchmark.results import results_folder
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord, read_records

ROOT = Path(__file__).parents[2]


def _checkout(root: Path) -> Path:
    (root / "data_prep").mkdir(parents=True)
    (root / "model_zoo").mkdir()
    shutil.copy(ROOT / "tests" / "extension" / "planted_csv.py", root / "data_prep")
    for name in ("DeepFM", "DMIN"):
        (root / "model_zoo" / name).symlink_to(DEEPFM_ZOO / name)
    return root


def _raw(folder: Path, seed: int) -> Path:
    folder.mkdir()
    log_frame(seed).to_csv(folder / "log.csv", index=False)
    return folder


def _started(checkout: Path, raw: Path) -> subprocess.Popen[str]:
    words = ["--dataset", DATASET, "--data", str(raw), "--models", "DeepFM:small", "--seeds", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", BENCHMARK, *words, "--methods", "base", "KD+LoopFM"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finished(process: subprocess.Popen[str]) -> str:
    shown, _ = process.communicate(timeout=500)
    assert process.returncode == 0, shown
    return shown


def _metrics(records: list[RunRecord]) -> dict[str, dict[str, float]]:
    return {record.method: record.metrics for record in records}


@pytest.mark.slow
def test_both_finish_and_both_are_right(tmp_path: Path) -> None:
    raws = [_raw(tmp_path / "raw7", 7), _raw(tmp_path / "raw8", 8)]
    together = _checkout(tmp_path / "together")
    processes = [_started(together, raw) for raw in raws]
    tables = [_finished(process) for process in processes]
    alone = {}
    for raw in raws:
        checkout = _checkout(tmp_path / f"alone-{raw.name}")
        _finished(_started(checkout, raw))
        (record, *_) = found = read_records([checkout / "runs" / DATASET / "records"])
        alone[record.fingerprints["data"]] = _metrics(found)
    assert len(alone) == 2
    outs = sorted((together / "runs").iterdir())
    assert [out.name.partition("-")[0] for out in outs if out.is_dir()] == [DATASET] * 2
    for out in (out for out in outs if out.is_dir()):
        records = read_records([out / "records"])
        (data,) = {record.fingerprints["data"] for record in records}
        assert _metrics(records) == alone[data]
        assert sum(f"runs/{out.name}/leaderboard.md" in shown.replace(str(together), "")
                   for shown in tables) == 1  # fmt: skip
    for view in (DATASET, TEACHER_DATASET):
        assert len(list((together / "data" / view).glob("view-*"))) == 2


def test_a_folder_of_results_is_of_one_state_of_the_data(
    planted_log: PreparedDataset, tmp_path: Path
) -> None:
    default = tmp_path / "runs" / DATASET
    assert results_folder(planted_log, default, None) == default
    assert results_folder(planted_log, default, None) == default
    other = PreparedDataset.load(planted_log.folder)
    object.__setattr__(other, "fingerprint", "0123456789abcdef")
    assert results_folder(other, default, None) == tmp_path / "runs" / f"{DATASET}-0123456789abcdef"
    with pytest.raises(DataError, match=rf"{DATASET}: expected results .*Give another folder"):
        results_folder(other, default, default)
