"""A teacher is an experiment like any other: it may read histories, even another teacher's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Loop, new_loop
from planted import DEEPFM_ZOO, TEACHER, log_frame, write_log

from fuxictr_loopfm.analysis.metrics import evaluate
from fuxictr_loopfm.commands.cli import main
from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.pipeline.extraction_pass import ExtractionPass
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.runs.rerun import Places, compared, rerun
from fuxictr_loopfm.runs.teacher import run_teacher
from fuxictr_loopfm.store.shard import read_manifest
from fuxictr_loopfm.upkeep.forget import forget_users
from fuxictr_loopfm.upkeep.verification import verify_folder

# Long enough for a user to come back before a label is known.
DELAY = 6_000
RAW = {"loopfm_history": "ids+label", "loopfm_label_delay_seconds": float(DELAY)}
HISTORY = {
    "loopfm_dim": 4, "loopfm_compressor_hidden": 16, "loopfm_codec": "int8",
    "loopfm_encoder": "din", "loopfm_encoder_dim": 8, "loopfm_encoder_heads": 2,
    "loopfm_max_len": 8, "use_features": [
        *("event_id", "group_id", "user_id", "item_id", "genre", "hour", "price"), "loopfm_history"
    ],
}  # fmt: skip
# Without the column of the planted interest a teacher knows it from the past best.
OTHERS: dict[str, dict[str, Any]] = {
    "blind": {**HISTORY},
    "raw": {**HISTORY, **RAW},
    "first": {"loopfm_train_periods": 1},
    "second": {
        **HISTORY, **RAW, "loopfm_history": "embedding+label", "loopfm_teacher": "first"
    },
}  # fmt: skip


def loop_of(root: Path, frame: pd.DataFrame | None = None) -> Loop:
    return new_loop(root, write_log(root / "prepared", frame), others=OTHERS)


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return loop_of(tmp_path_factory.mktemp("chained"))


def pass_of(loop: Loop, teacher: str) -> ExtractionPass:
    return loop.load("kd_loopfm", loopfm_teacher=teacher)[1].extraction_pass


def logged(loop: Loop, teacher: str) -> tuple[np.ndarray, np.ndarray]:
    log = pass_of(loop, teacher).build()
    return log.event_id, log.logit


def test_a_teacher_that_reads_its_users_past_is_better(chained: Loop) -> None:
    auc = {}
    for name in ("blind", "raw"):
        event_id, logit = logged(chained, name)
        label = chained.prepared.label[event_id].astype(float)
        auc[name] = evaluate(label, 1 / (1 + np.exp(-logit.astype(float))), None)["AUC"]
    assert auc["raw"] > auc["blind"] + 0.05


@pytest.mark.parametrize("teacher", ["raw", "second"])
def test_a_teacher_logs_only_what_was_known(chained: Loop, teacher: str, tmp_path: Path) -> None:
    """Labels from a moment on change no logit until a label's delay after it."""
    frame = log_frame()
    row = 1_200
    frame.loc[row:, "click"] = 1 - frame.loc[row:, "click"]
    event_id, before = logged(chained, teacher)
    again, after = logged(loop_of(tmp_path, frame), teacher)
    assert np.array_equal(event_id, again)
    times = frame["timestamp"].to_numpy()[event_id]
    known_from = frame["timestamp"][row] + DELAY
    np.testing.assert_array_equal(before[times <= known_from], after[times <= known_from])
    assert (before != after)[times > known_from].any(), "later ones read them"


def test_a_chain_reads_no_period_that_its_first_teacher_learned(chained: Loop) -> None:
    found = pass_of(chained, "second")
    found.build()
    assert found.periods == [3, 4, 5, 6]
    assert found.upstream is not None and found.upstream.periods == [2, 3, 4, 5, 6]
    store = found.run.histories.workspace.store(chained.prepared.spec.user)
    assert not store.manifest.backfill, "a teacher that had learned what it logged is refused"
    provenance = store.manifest.provenance
    assert provenance["teacher_train_periods"] == [1]
    assert provenance["logged_periods"] == [2, 3, 4, 5, 6]
    assert chained.prepared.period[store.event_id[1:]].min() == 2


def test_workers_log_the_same_bytes(chained: Loop, own_loop: Loop) -> None:
    alone = pass_of(chained, "second")
    alone.build()
    other = loop_of(own_loop.root / "workers")
    by_workers = pass_of(other, "second")
    by_workers.build(workers=2)
    assert alone.folder.name == by_workers.folder.name
    for path in alone.folder.glob("period-*.h5"):
        assert path.read_bytes() == (by_workers.folder / path.name).read_bytes()


def test_what_determines_a_history_makes_another_teacher(chained: Loop) -> None:
    experiment, workspace = chained.load("kd_loopfm", loopfm_teacher="second")

    def fingerprint(change: Callable[[Experiment], Experiment] = lambda same: same) -> str:
        assert workspace.teacher is not None
        root, prepared = workspace.artifact_root, workspace.prepared
        teacher = change(workspace.teacher)
        return ExtractionPass(teacher, experiment.keys, prepared, root).run.teacher_fingerprint

    def with_key(**keys: Any) -> str:
        return fingerprint(lambda teacher: replace(teacher, keys=replace(teacher.keys, **keys)))

    changed = [
        with_key(max_len=7), with_key(label_delay_seconds=1.0), with_key(codec="f32"),
        with_key(encoder="mean"), with_key(history="embedding"), with_key(dim=3),
        fingerprint(lambda teacher: replace(teacher, upstream=chained.load(TEACHER)[0])),
    ]  # fmt: skip
    assert len({fingerprint(), *changed}) == len(changed) + 1
    assert with_key(num_shards=3, delivery="padded", threads=2) == fingerprint()


def test_a_run_with_such_a_teacher_is_verified_and_runs_again(chained: Loop) -> None:
    record = chained.run("kd_loopfm", loopfm_teacher="second", seed=4)
    assert record.repeat["teacher"]["teacher"]["expid"] == "first"
    report = verify_folder(chained.root / "data", chained.prepared.folder)
    assert report.problems == []
    found = rerun(record, places(chained))
    assert all(row.equal for row in compared(record, found))


def test_a_teacher_by_itself_runs_again(chained: Loop) -> None:
    experiment, _ = chained.load("second")
    own = replace(experiment, upstream=experiment.load_teacher())
    record, values = run_teacher(own, command="test")
    assert values["test"]["AUC"] > 0.5
    found = rerun(record, places(chained, fresh=True))
    assert all(row.equal for row in compared(record, found))


def places(loop: Loop, fresh: bool = False) -> Places:
    return Places(
        Checkout(DEEPFM_ZOO.parent), data=loop.prepared.folder, data_root=loop.root / "data",
        fresh=fresh,
    )  # fmt: skip


def test_extract_builds_the_whole_chain(
    own_loop: Loop, capsys: pytest.CaptureFixture[str], planted_log: PreparedDataset
) -> None:
    loop = loop_of(own_loop.root / "other")
    config = loop.config / "model_config.yaml"
    text = config.read_text().replace(f"loopfm_teacher: {TEACHER}", "loopfm_teacher: second")
    config.write_text(text)
    main(["extract", "--config", str(loop.config), "--expid", "kd_loopfm"])
    assert "events logged, dim 4" in capsys.readouterr().out
    assert [len(loop.folders(kind)) for kind in ("teacher", "extraction")] == [2, 2]
    user = str(loop.prepared.array("user_id")[-1])
    forget_users(loop.prepared.folder, [user], [loop.root / "data"])
    left = PreparedDataset.load(loop.prepared.folder)
    assert user not in set(left.array("user_id").tolist())
    for folder in loop.folders("store"):
        assert read_manifest(folder).dataset_fingerprint == left.fingerprint
    assert loop.folders("extraction") == []


def test_a_teacher_that_learns_from_itself_is_refused(chained: Loop) -> None:
    with pytest.raises(ConfigError, match="expected a teacher that does not learn from this one"):
        circular = loop_of_circle(chained)
        circular.load("kd_loopfm", loopfm_teacher="a")


def loop_of_circle(chained: Loop) -> Loop:
    history = {**HISTORY, "loopfm_history": "embedding"}
    others = {name: {**history, "loopfm_teacher": of} for name, of in (("a", "b"), ("b", "a"))}
    return new_loop(chained.root / "circle", chained.prepared, others=others)


def test_a_teacher_cannot_learn_more_periods_than_there_are(chained: Loop) -> None:
    experiment, workspace = chained.load("kd_loopfm", loopfm_teacher="first")
    assert workspace.teacher is not None
    teacher = replace(workspace.teacher, keys=replace(workspace.teacher.keys, train_periods=3))
    with pytest.raises(ConfigError, match=r"loopfm_train_periods: expected at most 2.*found 3"):
        ExtractionPass(teacher, experiment.keys, workspace.prepared, workspace.artifact_root)
