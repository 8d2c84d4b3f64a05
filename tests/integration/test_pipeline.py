"""The whole loop on a small log: what is transferred, what is reused, what is written."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
import yaml
from conftest import Loop
from planted import DATASET, SMALL, TEACHER, log_frame

from fuxictr_loopfm.evidence.benchmark.configs import COMMON
from fuxictr_loopfm.evidence.methods import DEFAULT_METHODS, method_slug
from fuxictr_loopfm.extraction.tap import TapRecorder
from fuxictr_loopfm.pipeline.teacher import TeacherRun
from fuxictr_loopfm.records.record import read_records
from fuxictr_loopfm.runs import run_expid
from fuxictr_loopfm.runs import vertical as runner
from fuxictr_loopfm.runs.vertical import run_vertical


@pytest.fixture(scope="module")
def records(loop: Loop) -> dict[str, Any]:
    """A run of every method."""
    return {method: loop.run(method_slug(method), seed=1) for method in DEFAULT_METHODS[:-1]}


def test_past_embeddings_carry_the_planted_interest(records: dict[str, Any]) -> None:
    auc = {method: record.metrics["AUC"] for method, record in records.items()}
    base = auc["base"]
    assert base < 0.6, "the vertical features alone must not give the interest away"
    with_embeddings = [auc[method] for method in auc if "LoopFM" in method]
    assert len(with_embeddings) == 6 and min(with_embeddings) > base
    assert np.mean(with_embeddings) > base + 0.1


def test_every_method_is_a_run_of_its_own(records: dict[str, Any]) -> None:
    for method, record in records.items():
        assert (record.method, record.dataset_id) == (method, DATASET)
        assert record.encoder == ("" if method in ("base", "KD") else "din")
        live = {"gAUC_live"} if "label" in method else set()
        assert set(record.metrics) == {"AUC", "gAUC", "logloss", "NE"} | live
    stored = {method: record.bytes_per_event for method, record in records.items()}
    assert stored["base"] == stored["KD"] == 0
    assert stored["LoopFM"] == stored["KD+LoopFM"] == 4, "four int8 codes"
    assert stored["LoopFM+label"] == 5
    assert stored["raw"] == 8 and stored["raw+label"] == 9, "item_id and genre"


def test_distillation_trains_another_model_of_the_same_size(records: dict[str, Any]) -> None:
    base, distilled = records["base"], records["KD"]
    assert base.params == distilled.params
    assert base.metrics["logloss"] != distilled.metrics["logloss"]
    assert records["LoopFM"].params > base.params


def test_one_teacher_one_pass_and_one_store_served_all_methods(
    loop: Loop, records: dict[str, Any]
) -> None:
    assert records
    assert [len(loop.folders(kind)) for kind in ("teacher", "extraction", "store")] == [1, 1, 2]


def test_what_exists_is_reused(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loop.run("kd_loopfm", seed=3)

    def never(*_arguments: Any, **_keywords: Any) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(TeacherRun, "_train", never)
    monkeypatch.setattr(TapRecorder, "__enter__", never)
    monkeypatch.setattr("fuxictr_loopfm.pipeline.structuring_pass.build_shards", never)
    monkeypatch.setattr("fuxictr_loopfm.pipeline.history_workspace.pointers_of_events", never)
    again = loop.run("kd_loopfm", seed=3)
    assert again.metrics == first.metrics and again.fingerprints == first.fingerprints
    assert loop.run("kd_loopfm", seed=3, loopfm_encoder="mean").metrics != first.metrics


def test_an_interrupted_teacher_leaves_nothing(
    own_loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def stop_at_step_30(*_: Any) -> None:
        steps.append(0)
        if len(steps) == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(TeacherRun, "_compressor_step", stop_at_step_30)
    with pytest.raises(KeyboardInterrupt):
        own_loop.run("loopfm")
    left = [path for path in own_loop.artifacts.iterdir() if path.suffix != ".lock"]
    assert left == []


def test_training_with_early_stopping_never_sees_the_test_period(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, workspace = loop.load("kd_loopfm", loopfm_validation=True, epochs=3)
    made: dict[str, Any] = {}
    original = runner.loaders
    monkeypatch.setattr(runner, "loaders", lambda *given: made.update(original(*given)) or made)
    record, results, predictions = run_vertical(
        experiment, workspace, model_name="DeepFM", command="test"
    )
    periods = {
        split: np.unique(loop.prepared.period[batches._event_id]).tolist()
        for split, batches in made.items()
    }
    assert periods == {"train": [3, 4], "valid": [5], "test": [6]}
    assert record.protocol == "stream, early stopping"
    assert set(results) == {"valid", "test"} and results["valid"] != results["test"]
    assert len(predictions["y_pred"]) == made["test"].num_samples


def test_one_pass_trains_in_time_order_and_keeps_its_weights(loop: Loop) -> None:
    experiment, workspace = loop.load("base")
    run = runner.Run(experiment, workspace)
    made = runner.train_vertical(run)
    events = [batch["event_id"] for batch in made["train"]]
    assert torch.equal(torch.cat(events), torch.arange(667, 1667))
    saved = torch.load(run.model.checkpoint, weights_only=True)
    assert all(torch.equal(saved[name], value) for name, value in run.model.state_dict().items())


def test_ray_is_never_started(records: dict[str, Any]) -> None:
    assert records and not ray.is_initialized()


def scripted(config: Path, expid: str, zoo: Path) -> None:
    arguments = ["--config", str(config), "--expid", expid, "--gpu", "-1"]
    run_expid.main(str(zoo / "run_expid.py"), arguments)


LINE = re.compile(
    r" \d{8}-\d{6},\[command\] python (.*),\[exp_id\] (\w+),\[dataset_id\] (\w+),\[train\] N\.A\.,"
    r"\[val\] (.*),\[test\] (gAUC: \d\.\d{6} - AUC: \d\.\d{6} - logloss: \d+\.\d{6})"
)


def test_run_expid_leaves_fuxictrs_line_and_a_record(loop: Loop, zoo: Path) -> None:
    for expid in ("kd_loopfm", "base"):
        scripted(loop.config, expid, zoo)
    lines = (zoo / "configs.csv").read_text().splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert [match.group(2, 3, 4) for match in found if match] == [
        ("kd_loopfm", DATASET, ""),
        ("base", DATASET, ""),
    ]
    (record, _) = sorted(read_records([zoo]), key=lambda r: r.expid != "kd_loopfm")
    assert found[0] is not None
    expected = " - ".join(f"{m}: {record.metrics[m]:.6f}" for m in ("gAUC", "AUC", "logloss"))
    assert found[0].group(5) == expected
    assert record.command == (
        f"python run_expid.py --config {loop.config} --expid kd_loopfm --gpu -1"
    )
    log = (loop.root / "checkpoints" / DATASET / "kd_loopfm.log").read_text()
    for line in ("Train samples: total/1000, blocks/1", "Test samples: total/333, blocks/1"):
        assert line in log
    assert "[Metrics] gAUC: " in log and "Total number of parameters: " in log


def test_a_teachers_expid_runs_by_itself(loop: Loop, zoo: Path) -> None:
    scripted(loop.config, TEACHER, zoo)
    (record,) = read_records([zoo])
    assert (record.method, record.model) == ("teacher", "DeepFM")
    assert record.metrics["AUC"] > 0.65, "it sees the planted interest"


def write_plain(folder: Path) -> Path:
    """FuxiCTR's csv files of the same log, without a clock, and a configuration of them."""
    frame = log_frame().drop(columns=["timestamp", "segment"])
    splits = {"train": frame[:1200], "valid": frame[1200:1600], "test": frame[1600:]}
    config: dict[str, Any] = {
        "data_root": str(folder / "data"),
        "data_format": "csv",
        "feature_cols": [
            {"name": ["user_id", "item_id", "genre", "hour"], "active": True, "dtype": "str"}
            | {"type": "categorical"},
            {"name": "price", "active": True, "dtype": "float", "type": "numeric"},
        ],
        "label_col": {"name": "click", "dtype": "float"},
    }
    for name, part in splits.items():
        part.to_csv(folder / f"{name}.csv", index=False, quoting=csv.QUOTE_MINIMAL)
        config[f"{name}_data"] = str(folder / f"{name}.csv")
    model = {**COMMON, **SMALL, "dataset_id": "plain_x1", "epochs": 2, "shuffle": True}
    model |= {"model_root": str(folder / "checkpoints"), "metrics": ["AUC", "logloss"]}
    (folder / "config").mkdir()
    sections = {"plain": {**model, "monitor": "AUC"}, "with_kd": {**model, "loopfm_kd": "aux_head"}}
    sections["with_kd"]["loopfm_teacher"] = "plain"
    for name, value in (("model_config", sections), ("dataset_config", {"plain_x1": config})):
        (folder / "config" / f"{name}.yaml").write_text(yaml.safe_dump(value))
    return folder / "config"


def test_plain_csv_files_train_as_in_fuxictr(
    tmp_path: Path, zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_plain(tmp_path)
    scripted(config, "plain", zoo)
    (record,) = read_records([zoo])
    assert (record.protocol, record.method, record.dataset_id) == ("bars", "base", "plain_x1")
    assert set(record.metrics) >= {"AUC", "logloss"} and "gAUC" not in record.metrics
    values = r"AUC: 0\.\d{6} - logloss: \d\.\d{6}"
    assert re.search(rf"\[val\] {values},\[test\] {values}$", (zoo / "config.csv").read_text())
    assert not ray.is_initialized()
    with pytest.raises(SystemExit) as stopped:
        scripted(config, "with_kd", zoo)
    assert stopped.value.code == 1
    assert "need a prepared data set" in capsys.readouterr().err
