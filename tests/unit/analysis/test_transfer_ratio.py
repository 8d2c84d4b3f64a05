from __future__ import annotations

import numpy as np
import pytest

from fuxictr_loopfm.analysis.transfer_ratio import INITIAL_LAUNCH, UPGRADE, transfer_ratio
from fuxictr_loopfm.errors import DataError


def test_gains_and_ratio_by_hand():
    # Two users with the same rows: every resample has the same totals, so the intervals are points.
    y, user = [1, 0, 1, 0], ["a", "a", "b", "b"]
    half, good, fair = [0.5] * 4, [0.8, 0.2] * 2, [0.6, 0.4] * 2
    found = transfer_ratio(UPGRADE, y, (half, good), (half, fair), user, n_boot=20)
    # NE of 0.5 is 1 (the click rate is 0.5); of p on the right side it is -log2 p.
    fm, vm = 1 + np.log2(0.8), 1 + np.log2(0.6)
    assert found.dNE_FM == pytest.approx((fm, fm, fm), abs=1e-12)
    assert found.dNE_VM == pytest.approx((vm, vm, vm), abs=1e-12)
    assert found.ratio == pytest.approx((vm / fm,) * 3, abs=1e-12)
    assert (found.kind, found.users, found.rows, found.n_boot) == (UPGRADE, 2, 4, 20)


def test_the_entropy_is_that_of_the_click_rate_of_these_rows():
    y, user = [1, 0, 0, 0] * 2, [1, 1, 1, 1, 2, 2, 2, 2]
    first, second = [0.5] * 8, [0.5, 0.25, 0.25, 0.25] * 2
    found = transfer_ratio(UPGRADE, y, (first, second), (first, second), user, n_boot=5)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert found.dNE_FM.value == pytest.approx(0.75 * np.log(0.75 / 0.5) / entropy, abs=1e-12)
    assert found.ratio.value == pytest.approx(1.0, abs=1e-12)


def test_the_initial_launch_is_named_and_uses_the_model_without_the_channel():
    y, user = [1, 0, 1, 0], [7, 7, 8, 8]
    old, new, without, fed = [0.5] * 4, [0.6, 0.4] * 2, [0.5] * 4, [0.8, 0.2] * 2
    found = transfer_ratio(INITIAL_LAUNCH, y, (old, new), (without, fed), user, n_boot=10)
    assert found.kind == INITIAL_LAUNCH
    assert found.ratio.value == pytest.approx((1 + np.log2(0.8)) / (1 + np.log2(0.6)), abs=1e-12)
    assert found.ratio.value > 1


def test_losses_of_several_seeds_are_averaged_row_by_row():
    y, user = [1, 0, 1, 0], [7, 7, 8, 8]
    half, good = [0.5] * 4, [0.8, 0.2] * 2
    seeds = np.array([[0.8, 0.2] * 2, [0.6, 0.4] * 2])
    found = transfer_ratio(UPGRADE, y, (half, good), ([half, half], seeds), user, n_boot=5)
    expected = 1 + (np.log2(0.8) + np.log2(0.6)) / 2
    assert found.dNE_VM.value == pytest.approx(expected, abs=1e-12)


def simulated(generator: np.random.Generator, users: int, truth: float, spread: float):
    """Rows whose summed gains are, user by user, ``truth`` times the teacher's plus noise.

    With y = 1 everywhere but on rows that all models predict alike, a probability exp(-l) has loss
    l, so gains can be chosen freely.
    """
    rows = generator.integers(1, 6, size=users)
    user = np.repeat(np.arange(users), rows)
    fm = np.repeat(generator.normal(0.1, 0.1, users), rows)
    noise = np.repeat(generator.normal(0.0, spread, users), rows)
    vm = truth * fm + noise
    y = np.concatenate([np.ones(len(user)), np.zeros(users)])

    def p(gain: np.ndarray) -> np.ndarray:
        return np.concatenate([np.exp(-(2.0 - gain)), np.full(users, 0.1)])

    zero = np.zeros(len(user))
    user = np.concatenate([user, np.arange(users)])
    return y, (p(zero), p(fm)), (p(zero), p(vm)), user


def test_a_known_ratio_lies_within_its_interval_about_as_often_as_promised():
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(60):
        found = transfer_ratio(UPGRADE, *simulated(generator, 120, 0.4, 0.1), n_boot=300)
        hits += found.ratio.low <= 0.4 <= found.ratio.high
    # 95% of 60 is 57; fewer than 50 would come with a probability below 0.001.
    assert hits >= 50


def test_an_exact_ratio_has_an_interval_without_width():
    generator = np.random.default_rng(1)
    found = transfer_ratio(UPGRADE, *simulated(generator, 200, 0.4, 0.0), n_boot=100)
    assert found.ratio == pytest.approx((0.4, 0.4, 0.4), abs=1e-9)
    assert found.dNE_FM.low < found.dNE_FM.value < found.dNE_FM.high


def test_the_interval_agrees_with_a_plain_loop_over_resampled_users():
    generator = np.random.default_rng(11)
    y, teachers, verticals, user = simulated(generator, 60, 0.7, 0.1)
    found = transfer_ratio(UPGRADE, y, teachers, verticals, user, n_boot=4000)

    def loss(p: np.ndarray) -> np.ndarray:
        return -(y * np.log(p) + (1 - y) * np.log(1 - p))

    fm, vm = (loss(first) - loss(second) for first, second in (teachers, verticals))
    ratios = []
    for _ in range(1500):
        drawn = generator.choice(60, size=60)
        rows = np.concatenate([np.flatnonzero(user == one) for one in drawn])
        ratios.append(vm[rows].sum() / fm[rows].sum())
    low, high = np.quantile(ratios, [0.025, 0.975])
    width = high - low
    assert found.ratio.low == pytest.approx(low, abs=0.15 * width)
    assert found.ratio.high == pytest.approx(high, abs=0.15 * width)


def test_rows_of_one_user_count_as_one_observation():
    generator = np.random.default_rng(2)
    y, *p, user = simulated(generator, 80, 0.5, 0.1)
    by_user = transfer_ratio(UPGRADE, y, *p, user, n_boot=500).ratio
    by_row = transfer_ratio(UPGRADE, y, *p, np.arange(len(user)), n_boot=500).ratio
    assert by_user.high - by_user.low > 1.3 * (by_row.high - by_row.low)


def test_the_seed_decides_the_interval_and_chunks_do_not_change_the_draws(monkeypatch):
    arguments = simulated(np.random.default_rng(3), 50, 0.5, 0.1)
    first = transfer_ratio(UPGRADE, *arguments, n_boot=200, seed=4)
    assert transfer_ratio(UPGRADE, *arguments, n_boot=200, seed=4) == first
    assert transfer_ratio(UPGRADE, *arguments, n_boot=200, seed=5).ratio.low != first.ratio.low
    monkeypatch.setattr("fuxictr_loopfm.analysis.resampling._CHUNK_ENTRIES", 50 * 7)
    chunked = transfer_ratio(UPGRADE, *arguments, n_boot=200, seed=4)
    assert chunked.ratio == pytest.approx(first.ratio, abs=1e-12)


def test_teachers_that_do_not_differ_are_refused():
    y, *_, user = simulated(np.random.default_rng(3), 50, 0.5, 0.1)
    generator = np.random.default_rng(9)
    p_fm1, p_fm2 = generator.uniform(0.4, 0.6, (2, len(y)))
    with pytest.raises(DataError, match="contains 0; a ratio to it would mean nothing"):
        transfer_ratio(UPGRADE, y, (p_fm1, p_fm2), (p_fm1, p_fm2), user)
    with pytest.raises(DataError, match="initial launch ratio: .* which contains 0"):
        transfer_ratio(INITIAL_LAUNCH, y, (p_fm1, p_fm1), (p_fm1, p_fm2), user)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": [1, 0, 2, 0]}, r"y: expected only 0 and 1, found \[0, 1, 2\]"),
        ({"y": [1, 1, 1, 1]}, "y: expected labels of both classes"),
        ({"y": []}, r"y: expected labels of shape \(N,\)"),
        ({"p_fm2": [0.5] * 3}, r"p_fm2: expected shape \(4,\) or \(seeds, 4\), found \(3,\)"),
        ({"p_vm1": [0.5, 0.5, 1.5, 0.5]}, "p_vm1: expected probabilities"),
        ({"p_vm2": [0.5, 0.5, np.nan, 0.5]}, "p_vm2: expected probabilities"),
        ({"user": [1, 1, 1, 1]}, "at least 2 users to resample, found 1"),
        ({"user": [1, 1, 2]}, r"user: expected shape \(4,\), found \(3,\)"),
        ({"n_boot": 0}, "n_boot: expected at least 1 resample, found 0"),
    ],
)
def test_what_is_no_prediction_is_refused(changes, message):
    given = {"y": [1, 0, 1, 0], "user": [1, 1, 2, 2], "n_boot": 10}
    given |= {name: [0.5] * 4 for name in ("p_fm1", "p_vm1", "p_vm2")}
    given |= {"p_fm2": [0.6, 0.4, 0.6, 0.4]} | changes
    teachers, verticals = ((given[f"p_{kind}1"], given[f"p_{kind}2"]) for kind in ("fm", "vm"))
    with pytest.raises(DataError, match=message):
        transfer_ratio(UPGRADE, given["y"], teachers, verticals, given["user"], given["n_boot"])
