"""What the course of a training is warned of."""

from __future__ import annotations

from typing import Any

import pytest

from fuxictr_loopfm.analysis.training_watch import training_warnings


@pytest.mark.parametrize(
    "course",
    [
        {},
        {"loss": [0.61]},
        {"loss": [0.61, 0.40, 0.20]},
        {"loss": [0.61, 0.6102]},
        {"loss": [0.61, 0.59], "period": 5, "AUC": [0.70, 0.71]},
        {"loss": [0.61, 0.59], "period": 5, "AUC": [0.70, 0.6998]},
    ],
)
def test_a_sound_training_is_not_warned_of(course: dict[str, Any]) -> None:
    assert training_warnings(course) == []


def test_a_loss_that_rises_in_a_later_epoch_is_said() -> None:
    (text,) = training_warnings({"loss": [0.60, 0.55, 0.58, 0.62]})
    assert text.startswith("the training loss rose from 0.5500 to 0.5800 in epoch 3")
    assert "lower learning_rate" in text


def test_epochs_that_make_the_next_period_worse_are_said_with_what_to_change() -> None:
    """Though the loss falls, as it does by memorising."""
    course = {"loss": [0.6, 0.5, 0.4], "period": 5, "AUC": [0.70, 0.72, 0.69]}
    (text,) = training_warnings(course)
    assert "AUC on period 5, which was not learned, was 0.7200 after epoch 2 and 0.6900" in text
    assert "Set epochs: 2" in text and "tune-teacher" in text
