from __future__ import annotations

import math
import time

import numpy as np
import pytest
from fuxictr.metrics import gAUC
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from fuxictr_loopfm.analysis.metrics import evaluate, prediction_warnings
from fuxictr_loopfm.errors import DataError


def host_group_auc(y: np.ndarray, p: np.ndarray, group: np.ndarray) -> float:
    """What FuxiCTR does: its own function per group, then the ratio of the sums."""
    parts = [gAUC(y[group == one], p[group == one]) for one in dict.fromkeys(group.tolist())]
    return sum(value for value, _ in parts) / sum(weight for _, weight in parts)


# Few distinct scores make ties, few rows per group make groups of one class.
ROWS = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.integers(-2, 6)
    ),
    min_size=2,
    max_size=60,
).filter(lambda rows: len({label for label, _, _ in rows}) == 2)


def columns(rows: list[tuple[int, float, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, p, group = (np.array(column) for column in zip(*rows, strict=True))
    return y, p, group


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_auc_and_losses_equal_scikit_learn_with_ties_and_extreme_probabilities(rows):
    y, p, _ = columns(rows)
    found = evaluate(y, p)
    assert list(found) == ["AUC", "logloss", "NE"]
    assert found["AUC"] == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert found["logloss"] == pytest.approx(log_loss(y, p), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_group_auc_equals_fuxictr_with_ties_and_groups_of_one_class(rows):
    y, p, group = columns(rows)
    mixed = [one for one in set(group.tolist()) if len(set(y[group == one])) == 2]
    if not mixed:
        assert "gAUC" not in evaluate(y, p, group)
        return
    expected = host_group_auc(y, p, group)
    assert evaluate(y, p, group)["gAUC"] == pytest.approx(expected, abs=1e-9)
    assert evaluate(y, p, group.astype(str))["gAUC"] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_group_auc_equals_fuxictr_on_continuous_scores(seed):
    random = np.random.default_rng(seed)
    y, p = random.integers(0, 2, 2000), random.random(2000)
    group = random.integers(0, 60, 2000)
    assert evaluate(y, p, group)["gAUC"] == pytest.approx(host_group_auc(y, p, group), abs=1e-9)


def test_small_example_by_hand():
    # Group a: pairs (click 0.8 against 0.2, 0.8) = 1 + 1/2 of 2 -> 0.75 over 3 rows.
    # Group b: click 0.1 against 0.4 -> 0 over 2 rows. Group c has clicks only and does not count.
    y, p = [1, 0, 0, 1, 0, 1], [0.8, 0.2, 0.8, 0.1, 0.4, 0.5]
    assert evaluate(y, p, list("aaabbc"))["gAUC"] == pytest.approx(0.75 * 3 / 5)
    # All rows: clicks 0.8, 0.1, 0.5 against 0.2, 0.8, 0.4 win 2.5, 0 and 2 of 3.
    assert evaluate(y, p)["AUC"] == pytest.approx(4.5 / 9)


def test_normalized_entropy_is_one_for_the_click_rate_and_by_hand_below():
    y = np.array([1, 0, 0, 0])
    assert evaluate(y, np.full(4, 0.25))["NE"] == pytest.approx(1.0)
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    loss = -(math.log(0.5) + 3 * math.log(0.9)) / 4
    assert evaluate(y, [0.5, 0.1, 0.1, 0.1])["NE"] == pytest.approx(loss / entropy)


def test_single_precision_predictions_are_clipped_like_the_host_which_widens_them_first():
    y, p = np.array([1, 0, 1]), np.array([0.0, 1.0, 0.5], dtype=np.float32)
    assert evaluate(y, p)["logloss"] == pytest.approx(log_loss(y, p.astype(np.float64)), rel=1e-12)


@pytest.mark.parametrize(
    ("y", "p", "words"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], "both classes, found 3 rows with label 1 only"),
        (
            [0, 1, 1],
            [0.1, float("nan"), 0.3],
            r"found nan in row 1 \(1 such rows\)",
        ),
        ([0, 1, 2], [0.1, 0.2, 0.3], "label: expected only 0 and 1, found 2 in row 2"),
        ([0, 1, 1], [0.1, 0.2], "found 2 predictions for 3 labels"),
        ([], [], "at least one"),
        ([0, 1], [-3.0, 7.0], r"probabilities in \[0, 1\], found -3.0 to 7.0"),
    ],
)
def test_bad_input_is_named(y, p, words):
    with pytest.raises(DataError, match=words):
        evaluate(y, p)


def test_a_group_column_of_another_length_is_refused():
    with pytest.raises(DataError, match="each of the 2 rows, found 3"):
        evaluate([0, 1], [0.1, 0.2], [1, 1, 1])


def test_a_hundred_thousand_groups_take_no_loop():
    random = np.random.default_rng(0)
    y, p = random.integers(0, 2, 400_000), random.random(400_000)
    group = random.integers(0, 100_000, 400_000)
    start = time.perf_counter()
    evaluate(y, p, group)["gAUC"]
    # One call of scikit-learn per group takes over a minute here.
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("p", "ne", "message"),
    [
        ([0.3, 0.3 + 1e-7, 0.3], 1.0, "the prediction is constant (standard deviation"),
        ([0.1, 0.9, 0.5], 1.0, "NE 1.0000 is no better than"),
        ([0.1, 0.9, 0.5], 0.99, None),
        ([0.3, 0.3 + 1e-5, 0.3], 0.99, None),
    ],
)
def test_worthless_predictions_are_warned_of(p, ne, message):
    found = prediction_warnings(p, ne)
    assert len(found) == (message is not None)
    assert not found or found[0].startswith(message)
