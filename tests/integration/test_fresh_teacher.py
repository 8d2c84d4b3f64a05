"""A teacher that learns every period: what it knows when, how it goes on, in which space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Loop, new_loop
from planted import DATASET, log_frame, write_log

from fuxictr_loopfm.alignment.alignments import ALIGNMENTS
from fuxictr_loopfm.files.atomic import sha256_file
from fuxictr_loopfm.pipeline import continual
from fuxictr_loopfm.pipeline.continual import ContinualPass, lessons
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.pipeline.logged_quality import quality_by_period
from fuxictr_loopfm.pipeline.teacher_files import read_teacher_manifest
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.runs.teacher import run_teacher

FRESH = {"loopfm_checkpoint": "every_period"}
# Dropout draws random numbers; sparse tables keep a state of their own.
TEACHER: dict[str, Any] = {"net_dropout": 0.2, "epochs": 1, "loopfm_table_optimizer": "sparse"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, planted_log: PreparedDataset) -> Loop:
    return new_loop(tmp_path_factory.mktemp("fresh"), planted_log, **TEACHER)


def pass_of(loop: Loop, **keys: Any) -> ExtractionPass:
    return loop.load("kd_loopfm", **FRESH, **keys)[1].extraction_pass


def parts_of(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.glob("period-*.h5"))}


@pytest.mark.parametrize(
    "keys",
    [
        {}, {"loopfm_replay": 0.5, "loopfm_fresh_epochs": 2}, {"loopfm_alignment": "ema"},
        {"loopfm_alignment": "back_compatible"}, {"loopfm_alignment": "procrustes"},
        {"loopfm_alignment": "anchored"},
    ],
    ids=lambda keys: "_".join(map(str, keys.values())) or "plain",
)  # fmt: skip
@pytest.mark.parametrize("last", ["log", "keep"])
def test_a_killed_pass_goes_on_at_its_last_checkpoint(
    fresh: Loop, own_loop: Loop, keys: dict[str, Any], last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = new_loop(own_loop.root / "killed", fresh.prepared, **TEACHER)
    learned: list[int] = []
    original, wrapped = getattr(ContinualPass, f"_{last}"), ContinualPass._learn

    def stop_at_period_5(self: ContinualPass, period: int, *rest: Any) -> None:
        if period == 5:
            raise KeyboardInterrupt
        original(self, period, *rest)

    def note(self: ContinualPass, period: int, *rest: Any) -> None:
        learned.append(period)
        wrapped(self, period, *rest)

    monkeypatch.setattr(ContinualPass, "_learn", note)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ContinualPass, f"_{last}", stop_at_period_5)
        pass_of(loop, **keys).build()
    assert learned == [3, 4]
    killed = pass_of(loop, **keys)
    killed.build()
    assert learned[2:] == ([5] if last == "log" else [4, 5]), "only what was not kept"
    whole = pass_of(fresh, **keys)
    whole.build()
    assert killed.folder.name == whole.folder.name
    assert parts_of(killed.folder) == parts_of(whole.folder)
    assert not [*killed.folder.glob("checkpoint-*")]


def test_a_damaged_checkpoint_is_not_gone_on_with(
    fresh: Loop, own_loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = new_loop(own_loop.root / "damaged", fresh.prepared, **TEACHER)
    found = pass_of(loop)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ContinualPass, "clear", interrupted)
        found.build()
    (checkpoint,) = found.folder.glob("checkpoint-*.pt")
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    (found.folder / "period-0006-0000.json").unlink()
    pass_of(loop).build()
    whole = pass_of(fresh)
    whole.build()
    assert parts_of(found.folder) == parts_of(whole.folder)


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_each_setting_makes_a_log_of_its_own_and_one_teacher_serves_them(fresh: Loop) -> None:
    settings: list[dict[str, Any]] = [
        {}, {"loopfm_fresh_epochs": 2}, {"loopfm_fresh_lr_factor": 0.5}, {"loopfm_replay": 0.5},
        {"loopfm_label_delay_seconds": 60.0},
        *({"loopfm_alignment": kind} for kind in ALIGNMENTS if kind != "none"),
        {"loopfm_alignment": "ema", "loopfm_alignment_momentum": 0.9},
    ]  # fmt: skip
    passes = [pass_of(fresh, **keys) for keys in settings]
    assert len({each.folder for each in passes}) == len(passes)
    assert len({each.run.folder for each in passes}) == 1
    plain = passes[0].run
    assert plain.log_fingerprint == plain.compressor_fingerprint, "folders keep their names"


@pytest.mark.parametrize("kind", [kind for kind in ALIGNMENTS if kind != "none"])
def test_an_alignment_changes_later_embeddings_and_no_logit(fresh: Loop, kind: str) -> None:
    """What the first checkpoint logs stays; the mean of checkpoints alone has logits of its own."""
    plain, aligned = (pass_of(fresh, loopfm_alignment=each).build() for each in ("none", kind))
    first = fresh.prepared.rows_of((3,))
    count = first.stop - first.start
    assert np.array_equal(plain.embedding[:count], aligned.embedding[:count])
    assert not np.array_equal(plain.embedding[count:], aligned.embedding[count:])
    assert np.abs(aligned.embedding).max() <= 1
    assert np.array_equal(plain.logit, aligned.logit) == (kind != "ema")


def test_replay_and_a_smaller_rate_change_what_is_learned(fresh: Loop) -> None:
    logits = [
        pass_of(fresh, **keys).build().logit
        for keys in ({}, {"loopfm_replay": 0.5}, {"loopfm_fresh_lr_factor": 0.1})
    ]
    third = fresh.prepared.rows_of((3,))
    count = third.stop - third.start
    for other in logits[1:]:
        assert np.array_equal(logits[0][:count], other[:count]) and (logits[0] != other).any()


Change = Callable[[Any], None]


@pytest.mark.parametrize("delay", [0, 3_600])
def test_a_period_is_learned_once_its_labels_are_known(
    tmp_path: Path, planted_log: PreparedDataset, delay: int
) -> None:
    frame = log_frame()
    row = int(np.argmax(frame["period"] == 4)) + 50
    changed = frame.copy()
    changed.loc[row:, "click"] = 1 - changed.loc[row:, "click"]
    logs = []
    for name, each in (("one", frame), ("other", changed)):
        prepared = write_log(tmp_path / name / "prepared", each)
        loop = new_loop(tmp_path / name / "loop", prepared, **TEACHER)
        found = pass_of(loop, loopfm_label_delay_seconds=float(delay))
        logs.append(found.build().logit)
        learned = lessons(found.run, found.periods)
    period = frame["period"].to_numpy()[frame["period"] > 2]
    assert np.array_equal(logs[0][period <= 4], logs[1][period <= 4])
    assert (logs[0] != logs[1])[period == (5 if delay == 0 else 6)].any()
    times = frame.groupby("period")["timestamp"].agg(["min", "max"])
    for logged, past in learned.items():
        assert all(times["min"][logged] - times["max"][each] >= delay for each in past)
    if delay == 0:
        assert learned == {3: [], 4: [3], 5: [4], 6: [5]}
    else:
        assert learned == {3: [], 4: [], 5: [3], 6: [4]}
        assert np.array_equal(logs[0][period == 5], logs[1][period == 5])


def test_a_fresh_teacher_is_tested_by_what_it_logged(fresh: Loop) -> None:
    keys = {"loopfm_dim": 4, "loopfm_compressor_hidden": 16}
    frozen, _ = run_teacher(fresh.load("teacher", **keys)[0], command="test")
    experiment = fresh.load("teacher", **keys, **FRESH)[0]
    record, values = run_teacher(experiment, command="test")
    again, _ = run_teacher(experiment, command="test")
    assert record.metrics == values["test"] == again.metrics != frozen.metrics
    assert record.repeat["weights"] == again.repeat["weights"] == frozen.repeat["weights"]
    assert "going on through 5" in record.split
    root = experiment.params["data_root"]
    found = ExtractionPass(
        experiment, experiment.keys, fresh.prepared, Path(root) / "artifacts" / DATASET
    )
    view = found.run.view
    group = view.column(view.group_id)
    by_period = quality_by_period(found.build(), fresh.prepared, group)
    assert sorted(by_period) == [3, 4, 5, 6] and by_period[6] == record.metrics


def test_a_teacher_whose_further_epochs_memorise_says_so_in_its_record(own_loop: Loop) -> None:
    keys = {"loopfm_dim": 4, "loopfm_compressor_hidden": 16, "epochs": 12, "learning_rate": 0.05}
    experiment = own_loop.load("teacher", **keys)[0]
    record, _ = run_teacher(experiment, command="test")
    (text,) = [each for each in record.warnings if each.startswith("AUC on period 3")]
    assert "further epochs memorise. Set epochs: " in text
    root = Path(experiment.params["data_root"]) / "artifacts" / DATASET
    found = ExtractionPass(experiment, experiment.keys, own_loop.prepared, root)
    quality = quality_by_period(found.build(), own_loop.prepared)
    course = read_teacher_manifest(found.run.folder)["course"]
    assert len(course["loss"]) == len(course["AUC"]) == 12 and course["period"] == 3
    assert course["AUC"][-1] == pytest.approx(quality[3]["AUC"], abs=1e-12)
    assert course["loss"][-1] < course["loss"][0], "which alone says nothing"


def test_the_log_is_what_it_was_before_checkpoints(fresh: Loop) -> None:
    """A pass by hand: load, log, learn in time order with optimizers that go on."""
    found = pass_of(fresh)
    log = found.build()
    run = pass_of(fresh).run.ready()
    run.restart()
    logit = []
    with continual.TapRecorder(run.model, run.taps()) as recorder:
        for period in found.periods:
            logit += [row.logit for row in continual.embed(run, recorder, period)]
            run.train_on(run.batches_of_period(period), recorder, epochs=1)
    assert np.array_equal(np.concatenate(logit), log.logit)
    assert torch.is_grad_enabled()
