"""Which change of a configuration or of code makes another run, row, teacher or compressor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fuxictr_loopfm
from fuxictr_loopfm.config import identity
from fuxictr_loopfm.config.identity import (
    code_identity,
    compared_config,
    compressor_identity,
    identity_config,
    run_fingerprints,
    teacher_identity,
    teacher_mark,
)
from fuxictr_loopfm.config.key_rules import read_keys
from fuxictr_loopfm.files.atomic import fingerprint
from tests.unit.config.experiments import experiment_of

EVERYTHING = {"run", "row", "teacher", "mark"}


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    (tmp_path / "DeepFM" / "src").mkdir(parents=True)
    (tmp_path / "DeepFM" / "src" / "__init__.py").write_text("x = 1\n")
    return tmp_path


def identities(zoo: Path, **changes: Any) -> dict[str, str]:
    experiment = experiment_of(zoo, **changes)
    return {
        "run": fingerprint(run_fingerprints(experiment, "data")),
        "row": fingerprint(compared_config(identity_config(experiment))),
        "teacher": fingerprint(teacher_identity(experiment, "view")),
        "mark": teacher_mark(experiment),
    }


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("batch_size", 32, EVERYTHING),
        ("learning_rate", 0.1, EVERYTHING),
        ("gpu", -1, set()),
        ("verbose", 1, set()),
        ("num_workers", 3, set()),
        ("data_root", "elsewhere", set()),
        ("model_root", "elsewhere", set()),
        # Of these the rows of a leaderboard are made up.
        ("seed", 1, {"run", "teacher", "mark"}),
        ("dataset_id", "other", {"run", "teacher", "mark"}),
        # A teacher under another name has the same weights.
        ("model_id", "other", {"run", "mark"}),
        # No key of ours changes a teacher's weights.
        ("loopfm_max_len", 5, {"run", "row", "mark"}),
        ("loopfm_delivery", "padded", set()),
        ("loopfm_prepared", "elsewhere", set()),
        # What lies behind a path has a fingerprint of its own; a teacher's path is kept.
        ("train_data", "elsewhere.csv", {"teacher"}),
    ],
)
def test_which_change_of_a_param_changes_which_identity(
    zoo: Path, name: str, value: Any, expected: set[str]
) -> None:
    assert changed(identities(zoo), identities(zoo, **{name: value})) == expected


def test_data_and_code_count(zoo: Path) -> None:
    experiment, before = experiment_of(zoo), identities(zoo)
    one, other = (run_fingerprints(experiment, data) for data in ("data", "others"))
    assert changed(one, other) == {"data"}
    assert teacher_identity(experiment, "view") != teacher_identity(experiment, "others")
    (zoo / "DeepFM" / "src" / "__init__.py").write_text("x = 2\n")
    assert changed(before, identities(zoo)) == {"run", "teacher", "mark"}


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"loopfm_dim": 16}, False),
        ({"loopfm_taps": "hidden_1"}, False),
        ({"loopfm_compressor": "post_hoc"}, False),
        ({"loopfm_compressor_epochs": 7}, True),
        ({"loopfm_max_len": 5}, True),
        ({"loopfm_codec": "int8"}, True),
    ],
)
def test_what_makes_another_compressor(changes: dict[str, Any], same: bool) -> None:
    before, after = (compressor_identity(read_keys(keys, "here")) for keys in ({}, changes))
    assert (before == after) is same


def test_epochs_count_for_a_compressor_that_is_fitted_afterwards() -> None:
    fitted = {"loopfm_compressor": "post_hoc"}
    longer = {**fitted, "loopfm_compressor_epochs": 7}
    before, after = (compressor_identity(read_keys(keys, "here")) for keys in (fitted, longer))
    assert before != after


def test_the_identities_of_earlier_releases_hold() -> None:
    params = {"name": "value", "seed": 1, "gpu": 0, "loopfm_dim": 4, "loopfm_prepared": "x"}
    assert compared_config(params) == {"name": "value", "loopfm_dim": 4, "loopfm_prepared": "x"}
    assert fingerprint(compressor_identity(read_keys({}, "here"))) == "992f66be6deee76b"


def test_code_identity_follows_names_and_contents_of_python_files_only(tmp_path: Path) -> None:
    model = tmp_path / "DeepFM" / "src"
    model.mkdir(parents=True)
    (model / "DeepFM.py").write_text("x = 1\n")
    first = code_identity(tmp_path)
    (tmp_path / "notes.md").write_text("text")
    assert code_identity(tmp_path) == first != code_identity()
    (model / "DeepFM.py").write_text("x = 2\n")
    second = code_identity(tmp_path)
    (model / "DeepFM.py").rename(model / "Other.py")
    assert len({first, second, code_identity(tmp_path)}) == 3
    assert len(first) == 64


def test_code_identity_does_not_depend_on_where_the_model_lies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text("x = 1\n")
    assert code_identity(tmp_path / "a") == code_identity(tmp_path / "b")


def test_the_code_of_the_package_is_what_code_identity_reads() -> None:
    assert Path(fuxictr_loopfm.__file__).parent == identity._PACKAGE
