"""The canary sings on coins, and falls silent where labels leak."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_loopfm.evidence.methods import DEFAULT_METHODS, TEACHER
from tests.torture import canary, noise
from tests.torture.noise import CANARIES, Chance, noise_frame, null_sd
from tests.torture.section import Profile


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return Profile(tmp_path_factory.mktemp("canary"))


@pytest.mark.slow
def test_no_method_predicts_coins(profile: Profile) -> None:
    section = canary.torture(profile)
    assert section.survivors == []
    assert section.tried == {"runs on coins": len(canary.SHORT), "cheats": 1}


def test_a_method_that_predicts_and_a_cheat_that_does_not_are_survivors(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "NoiseLoop", lambda *_: None)
    for z, survivors in ((3.1, len(canary.SHORT)), (-3.1, len(canary.SHORT) + 1), (1.0, 1)):
        monkeypatch.setattr(canary, "chance_of", lambda *_, z=z: Chance(0.5 + z * 0.01, 0.01))
        assert len(canary.torture(profile).survivors) == survivors


def test_the_sd_is_that_of_guesses() -> None:
    frame = noise_frame(1, 3_000)
    test = frame[frame["period"] == noise.TEST_PERIOD]
    label, random = test["click"].to_numpy(), np.random.default_rng(0)
    view = test.groupby(["user_id", "timestamp"], sort=False).ngroup().to_numpy()
    guesses = []
    for _ in range(400):
        # Guesses that agree within a page view, the worst case.
        rank = random.normal(size=view.max() + 1)[view].argsort().argsort() + 1
        positives = int(label.sum())
        above = rank[label == 1].sum() - positives * (positives + 1) / 2
        guesses.append(above / (positives * (len(label) - positives)))
    assert np.mean(guesses) == pytest.approx(0.5, abs=0.01)
    assert np.std(guesses) == pytest.approx(null_sd(frame), rel=0.15)


def test_every_method_of_the_benchmark_is_a_canary() -> None:
    assert {*DEFAULT_METHODS} - {TEACHER} < set(CANARIES) and len(CANARIES) == 13
