from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from fuxictr_loopfm.analysis.intervals import UserBootstrap, differences
from fuxictr_loopfm.analysis.metrics import entropy, evaluate
from fuxictr_loopfm.analysis.resampling import multiplicities
from fuxictr_loopfm.errors import DataError


def brute_force(y, p, user, n_boot: int, seed: int) -> dict[str, np.ndarray]:
    """Every resample written out: the rows of each drawn user, as often as it was drawn."""
    users = np.unique(user)
    rows_of = [np.flatnonzero(user == each) for each in users]
    found: dict[str, list[float]] = {"AUC": [], "NE": [], "gAUC": []}
    (counts,) = multiplicities(len(users), n_boot, seed)
    for count in counts:
        drawn = [place for place, times in enumerate(count) for _ in range(times)]
        rows = np.concatenate([rows_of[place] for place in drawn])
        copy = np.repeat(np.arange(len(drawn)), [len(rows_of[place]) for place in drawn])
        one_class = len(set(y[rows])) == 1
        found["AUC"].append(np.nan if one_class else roc_auc_score(y[rows], p[rows]))
        loss = log_loss(y[rows], p[rows], labels=[0, 1])
        found["NE"].append(loss / entropy(y == 1))
        grouped = np.nan if one_class else evaluate(y[rows], p[rows], copy).get("gAUC", np.nan)
        found["gAUC"].append(grouped)
    return {name: np.array(values) for name, values in found.items()}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.booleans(), st.integers(1, 9), st.integers(1, 9)
        ),  # user, click, two scores in tenths, so that many are tied
        min_size=4,
        max_size=40,
    )
)
def test_resamples_equal_those_written_out(rows):
    user, y, *scores = (np.array(column) for column in zip(*rows, strict=True))
    y = y.astype(int)
    if len(set(user)) < 2 or len(set(y)) < 2:
        return
    p = np.stack(scores) / 10
    found = UserBootstrap(y, user, n_boot=40, seed=3).of(p)
    expected = [brute_force(y, each, user, 40, 3) for each in p]
    values = [evaluate(y, each, user) for each in p]
    for name in ("AUC", "gAUC", "NE"):
        if name not in values[0]:
            assert name not in found.values
            continue
        mean = np.mean([each[name] for each in values])
        assert found.values[name] == pytest.approx(mean, abs=1e-12)
        by_hand = np.mean([each[name] for each in expected], axis=0)
        np.testing.assert_allclose(found.draws[name], by_hand, atol=1e-12)


def clicks(generator: np.random.Generator, users: int, rows: int):
    """A log whose users differ in taste: (user, label, what a good model would say)."""
    user = generator.integers(0, users, rows)
    p = 1 / (1 + np.exp(-generator.normal(size=rows) - generator.normal(size=users)[user]))
    return user, (generator.random(rows) < p).astype(int), p


def test_a_better_arm_is_found_and_an_equal_one_is_not():
    generator = np.random.default_rng(0)
    user, y, p = clicks(generator, 300, 6000)
    bootstrap = UserBootstrap(y, user, n_boot=300)
    noise = [np.clip(p + generator.normal(0, 0.3, len(p)), 0.01, 0.99) for _ in range(4)]
    good, poor, same = bootstrap.of(p), bootstrap.of(noise[:2]), bootstrap.of(noise[2:])
    gain = differences(good, poor)
    assert gain["AUC"].low > 0 and gain["gAUC"].low > 0 and gain["NE"].high < 0
    assert gain["AUC"].low < gain["AUC"].value < gain["AUC"].high
    equal = differences(same, poor)["AUC"]
    assert equal.low < 0 < equal.high
    assert differences(good, good)["AUC"] == (0, 0, 0)


def test_gauc_may_come_from_predictions_of_its_own():
    user, y, p = clicks(np.random.default_rng(1), 50, 800)
    bootstrap = UserBootstrap(y, user, n_boot=20)
    mixed = bootstrap.of(p, grouped=1 - p)
    assert mixed.values["gAUC"] == pytest.approx(1 - bootstrap.of(p).values["gAUC"])
    assert mixed.values["AUC"] == bootstrap.of(p).values["AUC"]


@pytest.mark.parametrize(
    ("y", "p", "user", "message"),
    [
        ([0, 0], [0.1, 0.2], [1, 2], "expected labels 0 and 1"),
        ([0, 1], [0.1, 0.2], [1, 1], "at least 2 users"),
        ([0, 1], [0.1, 1.2], [1, 2], "apply the sigmoid"),
        ([0, 1], [0.1], [1, 2], "shape"),
    ],
)
def test_what_makes_no_sense_is_refused(y, p, user, message):
    with pytest.raises(DataError, match=message):
        UserBootstrap(y, user, n_boot=5).of(p)
