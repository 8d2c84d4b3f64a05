"""The search of a teacher's hyper-parameters: what it tries, when it ends, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.tuning.search import Budget, Search
from fuxictr_loopfm.tuning.space import Point, Space, what_counts
from fuxictr_loopfm.tuning.trial import Trial
from fuxictr_loopfm.tuning.tune import default_space

SPACE = Space({"a": (0, 1, 2), "b": (0, 1), "c": (0, 1)}, "space.yaml")
ROOT = Path(__file__).parents[3]


def scored(score: Callable[[Point], float], seconds: float = 60.0) -> Callable[[Point], Trial]:
    return lambda point: Trial(point, {"5": score(point)}, seconds)


def peak(point: Point) -> float:
    """Best at a=2, b=1; b alone makes it worse, so that the order of keys shows."""
    return 0.5 + 0.1 * point["a"] + 0.05 * point["b"] * (point["a"] - 1) - 0.01 * point["c"]


def test_it_climbs_one_key_at_a_time_and_ends_where_nothing_is_better() -> None:
    search = Search(SPACE, scored(peak), Budget())
    assert search.best().point == {"a": 2, "b": 1, "c": 0}
    tried = [tuple(trial.point.values()) for trial in search.trials]
    assert tried[:4] == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 0)]
    assert len(tried) == len(set(tried)) < 3 * 2 * 2


@pytest.mark.parametrize(
    ("budget", "made"), [(Budget(trials=3), 3), (Budget(minutes=2), 2), (Budget(minutes=0.1), 1)]
)
def test_it_ends_with_the_best_so_far_when_the_budget_is_spent(budget: Budget, made: int) -> None:
    search = Search(SPACE, scored(peak), budget)
    assert search.best().point["a"] == made - 1 and len(search.trials) == made


def test_points_that_differ_in_what_nobody_reads_are_one_trial() -> None:
    values = {"loopfm_history": (None, "ids"), "loopfm_encoder": ("mean", "din")}
    search = Search(Space(values, "s"), scored(lambda point: 0.5), Budget())
    search.best()
    assert [what_counts(trial.point) for trial in search.trials] == [
        {"loopfm_history": None}, {"loopfm_history": "ids", "loopfm_encoder": "mean"},
    ]  # fmt: skip


def test_a_failed_trial_is_passed_over_and_a_space_of_them_is_refused() -> None:
    def some_fail(point: Point) -> Trial:
        return Trial(point, {"5": 0.6}, 1.0) if point["a"] else Trial(point, {}, 1.0, "diverged")

    assert Search(SPACE, some_fail, Budget()).best().point["a"] == 1
    with pytest.raises(ConfigError, match=r"none among 6 trials. The first: diverged"):
        Search(Space({"a": (0,), "b": (0, 1, 2, 3, 4, 5)}, "s"), some_fail, Budget()).best()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other: {a: [1]}", "tuner_space: expected lists of values by key"),
        ("tuner_space: {epochs: 2}", "epochs: expected a list of values, found 2"),
        ("tuner_space: {epochs: []}", r"epochs: expected a list of values, found \[\]"),
    ],
)
def test_a_file_that_states_no_space_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Space.read(path)


def test_a_key_that_the_model_has_not_is_refused() -> None:
    space = Space({"epoch": (1,), "loopfm_max_len": (5,), "min_categr_count": (2,)}, "s.yaml")
    params: dict[str, Any] = {"model": "DMIN", "epochs": 1}
    with pytest.raises(ConfigError, match=r"epoch: expected a key of DMIN .*epochs") as raised:
        space.check(params)
    assert len(raised.value.problems) == 1


def test_the_default_space_has_what_was_measured() -> None:
    space = Space.read(default_space(Checkout(ROOT)))
    assert space.start["epochs"] == 1 and space.start["loopfm_checkpoint"] == "every_period"
    assert {0.0005, 0.001} <= set(space.values["learning_rate"])
    assert [64] in space.values["hidden_units"] and 8 in space.values["embedding_dim"]
