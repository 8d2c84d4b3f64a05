"""Models that we do not ship, taken unmodified from a folder: as vertical model and as teacher."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Loop, new_loop
from planted import DEEPFM_ZOO

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.evidence.benchmark.benchmark import Benchmark, BenchmarkPlan
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord, read_records
from fuxictr_loopfm.runs.vertical import Run, train_vertical

STAND_INS = Path(__file__).parents[1] / "zoo"
FITTING = ("Stacked", "Flattened", "DINLike", "FieldAware")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Our models in a checkout of their own, so that nothing is written into the real one."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "model_zoo").mkdir()
    (root / "data_prep").mkdir()
    for name in ("DeepFM", "DIN", "DMIN"):
        (root / "model_zoo" / name).symlink_to(DEEPFM_ZOO / name)
    return Checkout(root)


def benchmark(
    checkout: Checkout, prepared: PreparedDataset, models: Any, methods: Any, **changes: Any
) -> list[RunRecord]:
    plan: dict[str, Any] = {
        "models": tuple(models),
        "methods": tuple(methods),
        "seeds": 1,
        "out": checkout.root / "runs",
        "zoo": STAND_INS,
        "gpu": -1,
        "command": "make benchmark ZOO=<model_zoo folder>",
        "teacher": "DINLike",
    }
    return Benchmark(checkout, prepared, BenchmarkPlan(**{**plan, **changes})).run()


@pytest.fixture(scope="module")
def records(checkout: Checkout, planted_log: PreparedDataset) -> dict[tuple[str, str], RunRecord]:
    found = benchmark(checkout, planted_log, FITTING, ("base", "LoopFM", "KD+LoopFM"))
    return {(record.model, record.method): record for record in found}


@pytest.mark.parametrize("model", FITTING)
def test_a_foreign_model_trains_with_every_transfer(
    records: dict[tuple[str, str], RunRecord], model: str
) -> None:
    base, loopfm, both = (records[model, m] for m in ("base", "LoopFM", "KD+LoopFM"))
    assert base.params < loopfm.params == both.params, "the head is not served"
    assert len({record.metrics["logloss"] for record in (base, loopfm, both)}) == 3
    for record in (base, loopfm, both):
        assert record.config["embedding_regularizer"] == 1.0e-6, "the model's own default"
        assert record.config["epochs"] == 1 and record.config["embedding_dim"] == 16
        assert 0.3 < record.metrics["logloss"] < 2.0


def test_the_configurations_written_for_foreign_models_are_complete(
    checkout: Checkout, records: dict[tuple[str, str], RunRecord]
) -> None:
    assert records
    folder = checkout.root / "runs" / "configs"
    # Beside each stands a hidden note of what was written, by which an edit is told.
    written = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert written == {f"{model}_Planted_s1" for model in FITTING} | {"DINLike_Planted_teacher_s1"}
    assert records["DINLike", "base"].config["din_sequence_field"] == ["item_his"]
    assert (checkout.data_root / "artifacts" / "Planted_s1").is_dir()


def test_a_second_benchmark_finds_its_records(
    checkout: Checkout,
    planted_log: PreparedDataset,
    records: dict[tuple[str, str], RunRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("run again")

    monkeypatch.setattr("fuxictr_loopfm.evidence.benchmark.runner.run_vertical", never)
    again = benchmark(checkout, planted_log, ["Stacked"], ["base", "LoopFM"])
    assert again == [records["Stacked", "base"], records["Stacked", "LoopFM"]]
    with pytest.raises(AssertionError, match="run again"):
        benchmark(checkout, planted_log, ["Stacked"], ["base"], seeds=2)


def test_committed_configurations_run_on_the_data_that_is_given(
    checkout: Checkout, planted_log: PreparedDataset, records: dict[tuple[str, str], RunRecord]
) -> None:
    """They name the place where the data set usually lies; DATA may name another."""
    other = Checkout(checkout.root / "other" / "checkout")
    (other.root / "data_prep").mkdir(parents=True)
    other.zoo.mkdir()
    shutil.copytree(checkout.root / "runs" / "configs", other.configs("Planted_s1"))
    for config in other.configs("Planted_s1").rglob("*.yaml"):
        text = config.read_text().replace("runs/configs", "benchmark_configs/Planted_s1")
        usual = "loopfm_prepared: ../../data/prepared/usual_place"
        config.write_text(re.sub("loopfm_prepared: .*", usual, text))
    (record,) = benchmark(other, planted_log, ["Stacked"], ["base"], out=other.root / "runs")
    assert record.metrics == records["Stacked", "base"].metrics
    assert not (other.root / "runs" / "configs").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("OwnTables", "OwnTables cannot take a history field: its constructor raised KeyError"),
        ("PickyModel", "PickyModel builds the history field 'loopfm_history' but .* never uses it"),
    ],
)
def test_a_model_that_cannot_take_a_history_says_why(
    checkout: Checkout, planted_log: PreparedDataset, model: str, message: str
) -> None:
    out = checkout.root / model
    base, kd = benchmark(checkout, planted_log, [model], ["base", "KD"], out=out)
    assert base.metrics["logloss"] != kd.metrics["logloss"]
    with pytest.raises(ConfigError, match=message):
        benchmark(checkout, planted_log, [model], ["LoopFM"], out=out)
    assert {record.method for record in read_records([out])} == {"base", "KD"}


def teacher_loop(root: Path, prepared: PreparedDataset, model: str) -> Loop:
    """A small teacher of a foreign class; every stand-in ignores the keys of the others."""
    fields: dict[str, Any] = {"model": model, "loopfm_model_zoo": str(STAND_INS)}
    if model == "DINLike":
        specs = [{"name": "item_his", "feature_encoder": None}]
        fields |= {"din_target_field": ["item_id"], "din_sequence_field": ["item_his"]}
        fields |= {"feature_specs": specs, "dnn_hidden_units": [16, 8]}
    return new_loop(root, prepared, **fields)


@pytest.mark.parametrize(
    ("model", "taps"),
    [
        ("Stacked", "emb"),
        ("Flattened", "hidden_0"),
        ("Flattened", "crosses.1+deep"),
        ("DINLike", "all"),
        ("FieldAware", "item_only+soft_label"),
        ("OwnTables", "mlp.mlp.0"),
        ("PickyModel", "soft_label"),
    ],
)
def test_a_foreign_model_is_a_teacher(
    tmp_path: Path, planted_log: PreparedDataset, model: str, taps: str
) -> None:
    loop = teacher_loop(tmp_path, planted_log, model)
    experiment, workspace = loop.load("kd_loopfm", loopfm_taps=taps, epochs=1)
    assert experiment.load_teacher() is not None
    run = Run(experiment, workspace)
    train_vertical(run)
    log = workspace.extraction
    assert log.manifest.taps == taps.split("+")
    assert len(log.event_id) == 2000 - 667 and log.logit.std() > 0
    assert log.embedding.shape[1] == (1 if taps == "soft_label" else 4)
    assert log.embedding.std(axis=0).min() > 0
    assert all(torch.isfinite(p).all() for p in run.model.parameters())


def test_a_teacher_without_the_tapped_layer_says_what_there_is(
    tmp_path: Path, planted_log: PreparedDataset
) -> None:
    loop = teacher_loop(tmp_path, planted_log, "Stacked")
    with pytest.raises(ConfigError, match="hidden_0"):
        loop.run("loopfm")
    assert loop.folders("extraction") == [] and loop.folders("store") == []


def test_vertical_models_are_searched_in_the_users_zoo_first(tmp_path: Path, loop: Loop) -> None:
    source = (DEEPFM_ZOO / "DeepFM" / "src" / "DeepFM.py").read_text()
    folder = tmp_path / "zoo" / "DeepFM" / "src"
    folder.mkdir(parents=True)
    (folder / "DeepFM.py").write_text(source + "\n\nclass Mine(DeepFM):\n    pass\n")
    (folder / "__init__.py").write_text("from .DeepFM import Mine as DeepFM\n")
    run = Run(*loop.load("base", loopfm_model_zoo=str(tmp_path / "zoo")))
    train_vertical(run)
    assert type(run.model).__name__ == "Mine"
