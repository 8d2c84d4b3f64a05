"""What is refused before anything is built: devices, host params, columns, unusable events."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fuxictr_loopfm.commands.options import at_least_one
from fuxictr_loopfm.config.argument_rules import argument_problems
from fuxictr_loopfm.config.device import require_device
from fuxictr_loopfm.config.early_checks import require_usable
from fuxictr_loopfm.config.feature_choice import feature_choice_problems
from fuxictr_loopfm.config.metric_rules import group_problems
from fuxictr_loopfm.config.param_rules import problems_of_params
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.extraction.extractor import require_variation
from fuxictr_loopfm.prepared.parts import Periods

GOOD: dict[str, Any] = {
    "model": "DeepFM",
    "model_root": "checkpoints",
    "data_root": "data",
    "feature_cols": [{"name": "user"}],
    "label_col": {"name": "click"},
    "batch_size": 16,
    "embedding_dim": 4,
    "epochs": 1,
    "seed": 0,
    "optimizer": "adam",
    "learning_rate": 1.0e-3,
    "loss": "binary_crossentropy",
    "metrics": ["AUC", "gAUC"],
    "monitor": {"AUC": 1, "NDCG(k=3)": 0.5},
    "embedding_regularizer": "l1_l2(1e-6, 0.1)",
    "net_regularizer": 0,
    "shuffle": False,
}


def test_params_that_fuxictr_takes_are_taken() -> None:
    assert problems_of_params(GOOD) == []
    assert problems_of_params({**GOOD, "optimizer": "SGD", "loss": "mse_loss"}) == []
    for changes in (
        {"monitor": {"AUC": 1, "logloss": -0.5}, "monitor_mode": "max"},
        {"monitor": "logloss", "monitor_mode": "min"},
        {"embedding_regularizer": 1.0e-5, "regularizer": "l2(0.1)"},
        {"net_dropout": [0, 0.5], "eval_steps": None, "shuffle": True},
    ):
        assert problems_of_params({**GOOD, **changes}) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"seed": None}, "expected a key seed, found none"),
        ({"seed": -1}, "seed: expected 0 to 4294967295, found -1"),
        ({"seed": 2**32}, "seed: expected 0 to 4294967295"),
        ({"batch_size": True}, "batch_size: expected a whole number, found True"),
        ({"epochs": 0}, "epochs: expected 1 or more, found 0"),
        ({"optimizer": "adan"}, "found 'adan' (did you mean 'adam'?)"),
        ({"learning_rate": "1e-3"}, "write 1.0e-3"),
        ({"learning_rate": "1.5e5"}, "write 1.5e+5"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a number above 0, found nan"),
        ({"loss": "crossentropy"}, "loss: expected binary_crossentropy"),
        ({"metrics": "AUC"}, "metrics: expected a list such as [AUC, logloss], found 'AUC'"),
        ({"metrics": ["AUC", "loglos"]}, "found 'loglos' (did you mean 'logloss'?)"),
        # FuxiCTR computes it while it trains, and nobody after the test.
        ({"metrics": ["AUC", "NDCG(k=3)"]}, "metrics: expected some of"),
        ({"monitor": {"AUC": "high"}}, "monitor: AUC: expected a number as its weight"),
        ({"monitor": "AUCC"}, "monitor: expected some of"),
        ({"monitor": "NE"}, "monitor: expected some of"),
        ({"monitor": "NDCG(__import__('os').getcwd())"}, "monitor: expected some of"),
        ({"monitor": False}, "monitor: expected a metric or weights such as"),
        ({"monitor": "logloss"}, "expected min for monitor=logloss, found max, which keeps the"),
        ({"eval_steps": 0}, "eval_steps: expected 1 or more, found 0"),
        ({"batch_size": "64"}, "batch_size: expected a whole number, found '64'; it is a text"),
        ({"learning_rate": "1.5e5"}, "YAML takes 1.5e5 for a text, write 1.5e+5"),
        ({"regularizer": 1}, "regularizer: expected a number with a point, found 1; write 1.0"),
        ({"net_dropout": 1}, "net_dropout: expected a share from 0 to below 1, found 1"),
        ({"optimizer": "LBFGS"}, "optimizer: expected a class of torch.optim that trains any"),
        ({"optimizer": False}, "optimizer: expected a name, found False; YAML reads NO, off and"),
        ({"monitor_mode": "maximum"}, "monitor_mode: expected one of ['max', 'min']"),
        ({"shuffle": "False"}, "shuffle: expected true or false, found the text 'False'; write"),
        ({"embedding_regularizer": "1e-5"}, "YAML takes 1e-5 for a text, write 1.0e-5"),
        ({"embedding_regularizer": 1}, "embedding_regularizer: expected a number with a point"),
        ({"embedding_regularizer": "l3(1)"}, "expected a number, l1(x), l2(x) or l1_l2(x,y)"),
        ({"early_stop_patience": -1}, "early_stop_patience: expected 0 or more, found -1"),
        ({"task": "regression"}, "task: expected one of ['binary_classification']"),
        ({"label_col": [{"name": "a"}, {"name": "b"}]}, "label_col: expected one label"),
    ],
)
def test_params_that_would_fail_late(changes: dict[str, Any], problem: str) -> None:
    (found,) = problems_of_params({**GOOD, **changes})
    assert problem in found


def test_groups_of_a_plain_data_set() -> None:
    grouped = {**GOOD, "group_id": "user"}
    assert group_problems(grouped, ["user", "item"]) == []
    problems = group_problems({**GOOD, "group_id": None}, ["user", "item"])
    expected = "group_id: expected a column to group by for"
    assert problems == [f"{expected} gAUC, found null", f"{expected} NDCG(k=3), found null"]
    (problem,) = group_problems({**GOOD, "group_id": "usr"}, ["user", "item"])
    assert "found 'usr' (did you mean 'user'?); there are ['user', 'item']" in problem


def test_features_that_are_chosen_or_described_again_must_be_there() -> None:
    specs = [{"name": ["user", "itm"], "embedding_dim": 8}]
    params = {**GOOD, "use_features": ["user", "item", "age"], "feature_specs": specs}
    first, second = feature_choice_problems(params, ["user", "item"])
    assert first.startswith("use_features: expected a feature of feature_cols, found 'age'")
    assert second.endswith("found 'itm' (did you mean 'item'?)")
    for wrong in ({"use_features": "user"}, {"feature_specs": ["user"]}):
        (problem,) = feature_choice_problems(wrong, ["user"])
        assert "expected a list of" in problem
    assert feature_choice_problems({"use_features": None, "feature_specs": None}, []) == []
    # The paper's tables choose them, so that a loader still serves them.
    added = {"use_features": ["user", "event_id", "group_id"]}
    assert feature_choice_problems(added, ["user"]) == []


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_device(1)
    require_device(-1)
    for gpu in (2, -2):
        with pytest.raises(ConfigError, match=f"--gpu {gpu}: expected -1 to 1, found 2 CUDA"):
            require_device(gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--gpu 0: expected -1, found no CUDA device; use"):
        require_device(0)


def events(**changes: Any) -> Any:
    """Six events in three periods, as much of a prepared data set as is looked at."""
    columns = {"timestamp": [1, 2, 3, 4, 5, 6], "period": [1, 1, 2, 2, 3, 3], "label": [0, 1] * 3}
    arrays = {name: np.array(values) for name, values in {**columns, **changes}.items()}
    period = arrays["period"]

    def rows_of(numbers: tuple[int, ...]) -> slice:
        left, right = np.searchsorted(period, [numbers[0], numbers[-1] + 1])
        return slice(int(left), int(right))

    spec = SimpleNamespace(label="click", periods=Periods.split(3, 1))
    return SimpleNamespace(folder=Path("log"), spec=spec, rows_of=rows_of, **arrays)


def test_events_that_a_model_can_learn_from() -> None:
    require_usable(events())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"timestamp": [1, 2, 3, 4, 6, 5]}, "in time order, found 5 after 6 in row 5"),
        ({"label": [0, 1, 2, 1, 0, 1]}, "expected 0 or 1, found 2 in row 2 .1 such rows"),
        ({"period": [1, 1, 1, 1, 3, 3]}, "period 2 of 3: expected at least one row, found none"),
        ({"label": [0, 1, 0, 1, 0, 0]}, r"the test period \[3\], found 2 rows with label 0 only"),
        ({"label": [0, 1, 1, 1, 0, 1]}, r"the training periods \[2\], found 2 rows with label 1"),
    ],
)
def test_events_that_no_model_can_learn_from(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem) as refused:
        require_usable(events(**changes))
    assert "prepare it again" in str(refused.value)


def test_a_constant_tap_is_refused() -> None:
    embedding = np.zeros((3, 2), dtype=np.float32)
    with pytest.raises(DataError, match="loopfm_taps=deep: .* the same in all 3"):
        require_variation(embedding, "deep")
    embedding[1, 1] = 1e-6
    require_variation(embedding, "deep")
    require_variation(embedding[:1], "deep")


def test_workers_and_seeds_are_at_least_one() -> None:
    assert at_least_one("3") == 3
    for text in ("0", "-1", "two"):
        with pytest.raises(Exception, match=f"expected 1 or more, found '{text}'"):
            at_least_one(text)


def test_params_that_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    class Model(nn.Module):
        def __init__(self, feature_map, hidden_units=(), batch_norm=False, **kwargs):
            super().__init__()

    good = {"model": "M", "hidden_units": [8], "loopfm_kd": "none", "batch_size": 4}
    assert argument_problems(Model, good) == []
    (found,) = argument_problems(Model, {**good, "batch_nrom": True})
    assert "batch_nrom: neither model Model" in found and "did you mean 'batch_norm'?" in found
    (found,) = argument_problems(Model, {**good, "hidden_unit": [4]})
    assert "hidden_unit: neither model Model" in found and "did you mean 'hidden_units'?" in found
    # The right one is there, and the other far from any: FuxiCTR's own configurations have such.
    assert argument_problems(Model, {**good, "dnn_hidden_units": [4], "gate": 1}) == []
    assert "gate: neither model Model nor FuxiCTR reads such a param" in caplog.text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"batch_norm": "False"}, "batch_norm: expected true or false, found 'False'; in quotes"),
        ({"net_dropout": "1e-1"}, "net_dropout: expected a number such as 0, found '1e-1'; YAML"),
        ({"activation": False}, "activation: expected a text such as 'ReLU', found False; YAML"),
        ({"hidden_units": 64}, "hidden_units: expected whole numbers such as [64, 64], found 64"),
        ({"hidden_units": [64, 0.5]}, "hidden_units: expected whole numbers such as [64, 64]"),
        ({"hidden_units": [64, 0]}, "hidden_units: expected whole numbers such as [64, 64]"),
    ],
)
def test_values_that_an_argument_cannot_mean(changes: dict[str, Any], expected: str) -> None:
    class Model(nn.Module):
        def __init__(
            self,
            hidden_units: Any = (64, 64),
            batch_norm: Any = False,
            net_dropout: Any = 0,
            activation: Any = "ReLU",
            depth: Any = None,
            **kwargs: Any,
        ) -> None:
            super().__init__()
            self.gate = kwargs.get("gate_units"), kwargs["beta"]

    good = {"hidden_units": [[8], 8], "net_dropout": [0.5, None], "activation": ["relu"]}
    read = {"depth": "any", "gate_units": 8, "beta": 0.5, "feature_config": None}
    assert argument_problems(Model, {**good, **read, "batch_norm": None}) == []
    (problem,) = argument_problems(Model, {**good, **read, **changes})
    assert expected in problem
    (problem,) = argument_problems(Model, {"gate_unit": 8})
    assert "did you mean 'gate_units'?" in problem
