"""Hyper-parameters are chosen without the test period, with the same configurations."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from planted import DEEPFM_ZOO, item_histories, log_frame, log_spec

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.evidence.benchmark.benchmark import Benchmark, BenchmarkPlan
from fuxictr_loopfm.prepared.dataset import PreparedDataset, write_prepared
from fuxictr_loopfm.records.record import RunRecord

DEV = "Planted_dev_s1"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    found = Checkout(tmp_path / "checkout")
    (found.root / "data_prep").mkdir(parents=True)
    found.zoo.mkdir()
    for name in ("DeepFM", "DMIN"):
        (found.zoo / name).symlink_to(DEEPFM_ZOO / name)
    return found


@pytest.fixture
def dev(tmp_path: Path) -> PreparedDataset:
    frame = log_frame()
    spec = replace(log_spec(), dataset_id=DEV)
    return write_prepared(tmp_path / DEV, spec, frame, {"item_his": item_histories(frame)})


def _run(
    checkout: Checkout, dev: PreparedDataset, out: str = "runs", minutes: float = 0.0
) -> list[RunRecord]:
    plan = BenchmarkPlan(
        ("DeepFM:small",), ("base", "KD"), 1, checkout.root / out, None, -1, "pytest",
        teacher_minutes=minutes,
    )  # fmt: skip
    return Benchmark(checkout, dev, plan).run()


def _set_learning_rate(config: Path, value: str) -> None:
    text = (config / "model_config.yaml").read_text()
    changed = re.sub(r"learning_rate: \S+", f"learning_rate: {value}", text)
    assert changed != text
    (config / "model_config.yaml").write_text(changed)


@pytest.mark.slow
def test_edited_and_committed_configurations_are_what_is_run(
    checkout: Checkout, dev: PreparedDataset
) -> None:
    generated = checkout.root / "runs" / "configs"
    base, taught = _run(checkout, dev)
    assert base.dataset_id == taught.dataset_id == DEV and DEV in base.expid
    assert sorted(path.name for path in generated.iterdir() if path.is_dir()) == [
        "DMIN_Planted_teacher_s1", "DeepFM_Planted_s1",
    ]  # fmt: skip
    assert _run(checkout, dev) == [base, taught]

    _set_learning_rate(generated / "DMIN_Planted_teacher_s1", "0.07")
    again = _run(checkout, dev)
    assert again[0] == base, "it learns from no teacher"
    assert again[1].repeat["teacher"]["config"]["learning_rate"] == 0.07
    assert again[1].fingerprints["teacher"] != taught.fingerprints["teacher"]

    _set_learning_rate(generated / "DeepFM_Planted_s1", "0.05")
    assert [run.config["learning_rate"] for run in _run(checkout, dev)] == [0.05] * 2

    committed = checkout.configs("Planted_s1") / "DeepFM_Planted_s1"
    shutil.copytree(generated / "DeepFM_Planted_s1", committed)
    _set_learning_rate(committed, "0.03")
    found = _run(checkout, dev, "other")
    assert [run.config["learning_rate"] for run in found] == [0.03] * 2
    assert {run.dataset_id for run in found} == {DEV}


@pytest.mark.slow
def test_a_small_search_makes_the_teacher_of_an_own_log_once(
    checkout: Checkout, dev: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then its configuration is there, and it is what the vertical model's says it is."""
    space = checkout.root / "benchmark_configs" / "teacher_space.yaml"
    space.parent.mkdir()
    space.write_text("tuner_space: {model: [X], hidden_units: [[8]], embedding_dim: [4]}")
    found = _run(checkout, dev, minutes=1)
    folder = checkout.root / "runs" / "configs" / "DMIN_Planted_teacher_s1"
    rows = list(csv.DictReader((folder / "trail.csv").open()))
    assert len(rows) >= 3, "each other value of either key"
    assert rows[0]["hidden_units"] == "[256, 128, 64]" and rows[0]["embedding_dim"] == "16"
    chosen = next(row for row in rows if row["note"] == "chosen")
    assert max(rows, key=lambda row: float(row["mean_AUC"])) is chosen
    teacher = found[1].repeat["teacher"]["config"]
    assert teacher["dnn_hidden_units"] == json.loads(chosen["hidden_units"])
    assert found[1].config["loopfm_checkpoint"] == "every_period"
    monkeypatch.setattr("fuxictr_loopfm.evidence.benchmark.tuned_teacher.search", None)
    assert _run(checkout, dev, minutes=1) == found
    _run(checkout, dev, "none")
    assert not (checkout.root / "none" / "configs" / folder.name / "trail.csv").exists()
    # Too short for so many events: the settings follow from the log's statistics.
    monkeypatch.setattr("fuxictr_loopfm.evidence.benchmark.tuned_teacher.ROWS_PER_MINUTE", 10)
    _run(checkout, dev, "short", minutes=1)
