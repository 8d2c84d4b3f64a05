"""The loop around the host's train step, and predictions in loader order."""

from __future__ import annotations

import io
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.host.trainer import evaluate, predict, progress, train_epochs

BATCHES = [{"x": torch.tensor([i, i + 0.5]), "y": torch.tensor([0.0, 1.0])} for i in range(3)]


class Recorder(nn.Module):
    """As much of ``BaseModel`` as the loop uses; predicts sigmoid(x)."""

    def __init__(self, losses: tuple[float, ...] = (), group_id: str | None = None) -> None:
        super().__init__()
        self.losses = list(losses)
        self.model_id, self._verbose = "recorder", 0
        self.validation_metrics = ["logloss", "AUC", "unknown"]
        self.feature_map = SimpleNamespace(group_id=group_id)
        self.events: list[tuple[str, float]] = []
        self.modes: list[bool] = []

    def train_step(self, batch: Mapping[str, Tensor]) -> Tensor:
        self.events.append(("step", float(batch["x"][0])))
        self.modes.append(self.training)
        return torch.tensor(self.losses.pop(0) if self.losses else 0.5)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.modes.append(self.training)
        assert not torch.is_grad_enabled()
        return {"y_pred": batch["x"].sigmoid().unsqueeze(1)}

    def get_labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["y"].view(-1, 1)

    def get_group_id(self, batch: Mapping[str, Tensor]) -> Tensor:
        return torch.zeros(len(batch["y"]), dtype=torch.int64)


def test_each_epoch_takes_every_batch_once_in_order() -> None:
    model = Recorder()
    model.eval()
    ends: list[int] = []

    def after_step(batch: Mapping[str, Any]) -> None:
        model.events.append(("after", float(batch["x"][0])))

    losses = train_epochs(
        model, BATCHES, epochs=2, max_gradient_norm=3.0, after_step=after_step,
        after_epoch=lambda: ends.append(len(model.events)),
    )  # fmt: skip
    assert len(losses) == 2 and ends == [6, 12]
    one_epoch = [(kind, float(i)) for i in range(3) for kind in ("step", "after")]
    assert model.events == 2 * one_epoch
    assert model._max_gradient_norm == 3.0
    assert model.modes == [True] * 6


def test_it_logs_what_fuxictr_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        train_epochs(Recorder((0.3, 0.6, 0.9)), BATCHES, epochs=1)
    assert caplog.messages == [
        "Start training: 3 batches/epoch",
        "************ Epoch=1 start ************",
        "Train loss: 0.600000",
        "************ Epoch=1 end ************",
        "Training finished.",
    ]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training_in_its_epoch(loss: float) -> None:
    model = Recorder((0.5, 0.5, 0.5, 0.5, loss))
    with pytest.raises(DataError, match=f"recorder: the loss became {loss} in epoch 2.*Lower lear"):
        train_epochs(model, BATCHES, epochs=3)
    assert len(model.events) == 6


def test_predictions_keep_the_loaders_order() -> None:
    model = Recorder()
    found = predict(model, BATCHES)
    x = np.array([0, 0.5, 1, 1.5, 2, 2.5], dtype=np.float32)
    np.testing.assert_allclose(found["y_pred"], 1 / (1 + np.exp(-x)), rtol=1e-6)
    assert found["y_true"].tolist() == [0, 1, 0, 1, 0, 1]
    assert found["y_pred"].dtype == found["y_true"].dtype == np.float64
    assert "group" not in found and model.modes == [False] * 3


def test_evaluation_returns_all_metrics_and_logs_the_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        values, predictions = evaluate(Recorder(group_id="user"), BATCHES)
    # Of nine pairs of a click and no click, clicks score higher in 6: 0.5 > 0; 1.5 > 0, 1; all.
    assert values["AUC"] == pytest.approx(6 / 9)
    assert set(values) == {"AUC", "gAUC", "logloss", "NE"} and values["gAUC"] == values["AUC"]
    assert caplog.messages == [f"[Metrics] logloss: {values['logloss']:.6f} - AUC: 0.666667"]
    assert predictions["group"].tolist() == [0] * 6


@pytest.mark.parametrize(
    ("verbose", "is_terminal", "shown"), [(1, True, True), (1, False, False), (0, True, False)]
)
def test_the_bar_is_for_people_who_watch(
    monkeypatch: pytest.MonkeyPatch, verbose: int, is_terminal: bool, shown: bool
) -> None:
    console = io.StringIO()
    monkeypatch.setattr(console, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stdout", console)
    model = Recorder()
    model._verbose = verbose
    assert list(progress(BATCHES, model, "title")) == BATCHES
    assert ("title" in console.getvalue()) is shown


def test_batches_may_come_from_an_iterator_of_known_length() -> None:
    class Batches:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[dict[str, Tensor]]:
            return iter(BATCHES)

    model = Recorder()
    train_epochs(model, Batches(), epochs=2)
    assert len(model.events) == 6
