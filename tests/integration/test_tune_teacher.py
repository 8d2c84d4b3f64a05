"""``loopfm tune-teacher``: the choice, its trail, and that no test period is read for it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import Loop
from planted import DEEPFM_ZOO, item_histories, log_frame, log_spec

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.evidence.benchmark.configs import Location
from fuxictr_loopfm.evidence.benchmark.tuned_teacher import (
    TrialConfig,
    whole_spec,
    write_choice,
)
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.pipeline.logged_quality import quality_by_period
from fuxictr_loopfm.prepared.dataset import PreparedDataset, write_prepared
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.tuning.log_rule import LogRule
from fuxictr_loopfm.tuning.search import Budget
from fuxictr_loopfm.tuning.space import Space
from fuxictr_loopfm.tuning.tune import Choice, dev_form, search

RULE = LogRule({}, {})
SPACE = Space(
    {
        "model": ("DeepFM",),
        "hidden_units": ([8],),
        "embedding_dim": (4,),
        "learning_rate": (0.02,),
        "loopfm_history": (None, "ids+label"),
        "loopfm_checkpoint": ("fixed", "every_period"),
        "loopfm_max_len": (4,),
    },
    "test",
)


def places(prepared: PreparedDataset) -> Location:
    return Location("../../data", str(prepared.folder), None, None)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    found = Checkout(tmp_path_factory.mktemp("tuned") / "checkout")
    (found.root / "data_prep").mkdir(parents=True)
    found.zoo.mkdir()
    (found.zoo / "DeepFM").symlink_to(DEEPFM_ZOO / "DeepFM")
    return found


def tuned(checkout: Checkout, data: Path, out: Path) -> tuple[Choice, PreparedDataset]:
    dev, _ = dev_form(checkout, "Planted_s1", data, out)
    return search(
        checkout, dev, SPACE, Budget(trials=4), out, write=TrialConfig(dev, [checkout.zoo], RULE)
    ), dev


@pytest.fixture(scope="module")
def found(
    checkout: Checkout, planted_log: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Choice, PreparedDataset]:
    return tuned(checkout, planted_log.folder, tmp_path_factory.mktemp("found"))


def outcome(choice: Choice) -> list[Any]:
    return [choice.settings, *((trial.point, dict(trial.auc)) for trial in choice.trials)]


def test_a_search_never_reads_a_test_period(
    checkout: Checkout, found: tuple[Choice, PreparedDataset], tmp_path: Path
) -> None:
    """Whatever the test period holds, all trials have the same scores to the last digit."""
    frame = log_frame()
    test = frame["period"] == frame["period"].max()
    frame.loc[test, "click"] = 1 - frame.loc[test, "click"]
    for name in ("item_id", "user_id", "segment"):
        frame.loc[test, name] = np.roll(frame.loc[test, name].to_numpy(), 7)
    frame.loc[test, "price"] = 100.0
    other = write_prepared(
        tmp_path / "other", log_spec(), frame, {"item_his": item_histories(frame)}
    )
    choice, dev = tuned(checkout, other.folder, tmp_path / "out")
    assert outcome(choice) == outcome(found[0])
    assert dev.fingerprint == found[1].fingerprint
    assert list(choice.best.auc) == ["3", "4", "5"], "period 6 is the test"


def test_the_score_is_what_a_log_of_that_teacher_says(
    checkout: Checkout, found: tuple[Choice, PreparedDataset], tmp_path: Path
) -> None:
    choice, dev = found
    folder = write_choice(choice, whole_spec(dev), places(dev), tmp_path, [checkout.zoo], RULE)
    experiment = Experiment.load(
        folder,
        folder.name,
        base_dir=checkout.base_dir("DeepFM"),
        zoo=checkout.zoo,
        overrides={"verbose": 0, "data_root": str(tmp_path / "data")},
    )
    log = ExtractionPass(experiment, experiment.keys, dev, tmp_path / "artifacts").build()
    again = {str(p): values["AUC"] for p, values in quality_by_period(log, dev).items()}
    assert again == choice.best.auc
    assert choice.best.score == max(trial.score for trial in choice.trials)


def test_the_score_of_a_period_is_of_that_period(
    found: tuple[Choice, PreparedDataset], tmp_path: Path
) -> None:
    """Against a loop over the rows of a log of known predictions."""
    dev = found[1]
    random = np.random.default_rng(3)
    rows = dev.rows_of((3, 4, 5))
    event_id = np.arange(rows.start, rows.stop)
    manifest: Any = SimpleNamespace(logged_periods=[3, 4, 5])
    logit = random.normal(size=len(event_id)).astype(np.float32)
    measured = quality_by_period(ExtractionLog(tmp_path, manifest, event_id, logit), dev)
    for period, values in measured.items():
        own = [n for n, event in enumerate(event_id) if dev.period[event] == period]
        pairs = [
            (logit[a] > logit[b]) for a in own for b in own
            if dev.label[event_id[a]] > dev.label[event_id[b]]
        ]  # fmt: skip
        assert values["AUC"] == pytest.approx(np.mean(pairs))


def test_raw_files_are_prepared_without_their_test(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "fuxictr_loopfm.tuning.tune.prepare", lambda *_, **options: asked.append(options)
    )
    dev_form(checkout, "Planted_s1", tmp_path, tmp_path / "out")
    assert asked == [{"drop_last_period": True}]


def test_the_trail_is_beside_the_choice_and_finished_trials_are_not_run_again(
    checkout: Checkout,
    planted_log: PreparedDataset,
    found: tuple[Choice, PreparedDataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choice, dev = found
    monkeypatch.setattr(ExtractionPass, "build", None)
    again, _ = tuned(checkout, planted_log.folder, dev.folder.parent)
    assert outcome(again) == outcome(choice)
    folder = write_choice(again, whole_spec(dev), places(dev), tmp_path, [checkout.zoo], RULE)
    assert folder.name == "DeepFM_Planted_teacher_s1"
    rows = list(csv.DictReader((folder / "trail.csv").open()))
    assert len(rows) == len(choice.trials) and [r["note"] for r in rows].count("chosen") == 1
    assert {"loopfm_history", "mean_AUC", "AUC_3", "AUC_5", "seconds"} <= rows[0].keys()
    tuner = yaml.safe_load((folder / f"{folder.name}_tuner_config.yaml").read_text())
    assert tuner["base_expid"] == folder.name
    assert tuner["tuner_space"]["loopfm_checkpoint"] == ["fixed", "every_period"]
    text = (folder / "model_config.yaml").read_text()
    assert "Chosen by `loopfm tune-teacher` among" in text


def test_what_a_stopped_trial_left_is_used(
    checkout: Checkout, planted_log: PreparedDataset, own_loop: Loop, tmp_path: Path
) -> None:
    choice, _ = tuned(checkout, planted_log.folder, tmp_path)
    record = sorted((tmp_path / "trials").glob("*.json"))[0]
    record.unlink()
    shutil.rmtree(tmp_path / "trial")
    again, _ = tuned(checkout, planted_log.folder, tmp_path)
    assert outcome(again) == outcome(choice) and record.is_file()
