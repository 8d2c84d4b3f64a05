"""Sparse steps end where FuxiCTR's dense ones do.

The toy's gradients do not depend on its weights: they are what the batch says. In a network they
do, and Adam then makes differences of rounding large within a few hundred steps, whatever the
optimizer: two dense runs whose batches have their rows in another order part as far.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FeatureEmbeddingDict
from fuxictr.pytorch.models import BaseModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.table_optimizer import attach_tables, fresh_optimizer
from fuxictr_loopfm.tables import rules

SIZES = {"user": 40, "item": 300, "tag": 5}
WIDTH, ROWS, LENGTH = 4, 8, 3
OPTIMIZERS = ("adam", "AdamW", "Adagrad", "SGD")


class Toy(BaseModel):
    """Two embedding layers over the same features; the loss is linear in what they look up."""

    def __init__(
        self, feature_map: FeatureMap, folder: Path, optimizer: str, **kwargs: Any
    ) -> None:
        super().__init__(
            feature_map, gpu=-1, verbose=0, model_root=str(folder), metrics=["AUC"], **kwargs
        )
        self.wide = FeatureEmbeddingDict(feature_map, WIDTH)
        self.first_order = FeatureEmbeddingDict(
            feature_map, 1, use_pretrain=False, use_sharing=False
        )
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.compile(optimizer, "binary_crossentropy", lr=1e-3)
        self._max_gradient_norm = 10.0

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        wanted = {name: ids for name, ids in inputs.items() if name in self.feature_map.features}
        fields = self.wide(wanted)
        # Sequences are used event by event, so that their padding is looked up, too.
        parts = [
            (fields[name].flatten(1) * inputs[f"{name}_grad"].flatten(1)).sum() for name in fields
        ]
        order = self.first_order(wanted)
        parts += [(order[name].flatten(1)[:, 0] * inputs["order_grad"]).sum() for name in order]
        return {"y_pred": torch.stack(parts).sum() + self.bias * inputs["order_grad"].sum()}

    def add_loss(self, return_dict: dict[str, torch.Tensor], y_true: torch.Tensor) -> torch.Tensor:
        return return_dict["y_pred"].sum()


def feature_map(folder: Path) -> FeatureMap:
    found = FeatureMap("toy", str(folder))
    found.labels = ["y"]
    spec = {name: {"type": "categorical", "source": "", "vocab_size": size, "padding_idx": 0}
            for name, size in SIZES.items()}  # fmt: skip
    spec["seen"] = {"type": "sequence", "source": "", "vocab_size": SIZES["item"],
                    "padding_idx": 0, "share_embedding": "item", "max_len": LENGTH}  # fmt: skip
    found.features = OrderedDict(spec)
    found.num_fields = len(spec)
    return found


def toy(
    folder: Path, choice: str, optimizer: str = "adam", state: str = "full", **kwargs: Any
) -> Any:
    torch.manual_seed(0)
    model = Toy(feature_map(folder), folder, optimizer, **kwargs)
    attach_tables(model, choice, state)
    model.train()
    return model


def batches(steps: int, seed: int, skipped: float = 0.0) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of skewed ids, so that rows rest for one step or for hundreds; with ``skipped`` some
    have no ``tag``, whose table torch then leaves alone for a step."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        batch = {
            name: torch.from_numpy((size * rng.random(ROWS) ** 4).astype(np.int64))
            for name, size in SIZES.items()
        }
        batch["seen"] = torch.from_numpy(
            (SIZES["item"] * rng.random((ROWS, LENGTH)) ** 4).astype(np.int64)
        )
        scale = 10.0 ** rng.uniform(-6, 1)
        for name in list(batch):
            shape = (ROWS, LENGTH, WIDTH) if name == "seen" else (ROWS, WIDTH)
            batch[f"{name}_grad"] = torch.from_numpy(rng.normal(0, scale, shape)).float()
        batch["order_grad"] = torch.from_numpy(rng.normal(0, scale, ROWS)).float()
        batch["y"] = torch.zeros(ROWS)
        if rng.random() < skipped:
            del batch["tag"]
        yield batch


def trained(model: Any, steps: int, seed: int = 0, skipped: float = 0.0) -> Any:
    for batch in batches(steps, seed, skipped):
        model.train_step(batch)
    return model


def exactly_trained(
    folder: Path, optimizer: str, steps: int, seed: int = 0, skipped: float = 0.0
) -> Any:
    """The dense run in float64, which no rounding of 2,000 float32 steps is in."""
    model = toy(folder, "dense", optimizer).double()
    for batch in batches(steps, seed, skipped):
        model.train_step({n: v.double() if v.is_floating_point() else v for n, v in batch.items()})
    return model


def gap(one: Any, other: Any) -> float:
    """Largest difference of a weight, over the largest weight."""
    mine, theirs = one.state_dict(), other.state_dict()
    assert list(mine) == list(theirs)
    scale = max(float(value.abs().max()) for value in mine.values())
    return max(float((mine[name] - theirs[name]).abs().max()) for name in mine) / scale


@pytest.mark.parametrize("optimizer", ["adam", "AdamW"])
def test_two_thousand_steps_end_where_exact_dense_ones_do(tmp_path: Path, optimizer: str) -> None:
    exact = exactly_trained(tmp_path, optimizer, 2_000)
    dense = trained(toy(tmp_path, "dense", optimizer), 2_000)
    sparse = trained(toy(tmp_path, "sparse", optimizer), 2_000)
    # AdamW shrinks every weight in every step, which a float32 rounds 2,000 times in either run.
    assert gap(sparse, exact) < (5e-6 if optimizer == "AdamW" else 1e-6)
    # What is left to the float32 dense run is mostly that one's own rounding.
    assert gap(sparse, dense) < gap(dense, exact) + 1e-6


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.integers(1, 300),
    seed=st.integers(0, 2**31),
    skipped=st.sampled_from([0.0, 0.5]),
    optimizer=st.sampled_from(OPTIMIZERS),
)
def test_any_number_of_steps_with_tables_that_sometimes_rest(
    tmp_path_factory: pytest.TempPathFactory, steps: int, seed: int, skipped: float, optimizer: str
) -> None:
    folder = tmp_path_factory.mktemp("toy")
    exact = exactly_trained(folder, optimizer, steps, seed, skipped)
    sparse = trained(toy(folder, "sparse", optimizer), steps, seed, skipped)
    assert gap(sparse, exact) < 5e-6


def test_torch_and_compiled_arithmetic_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = trained(toy(tmp_path, "sparse"), 400)
    monkeypatch.setattr(rules, "has_kernels", lambda _device: False)
    assert gap(compiled, trained(toy(tmp_path, "sparse"), 400)) < 1e-6


def test_evaluation_and_checkpoints_read_rows_that_are_up_to_date(tmp_path: Path) -> None:
    dense, sparse = trained(toy(tmp_path, "dense"), 200), trained(toy(tmp_path, "sparse"), 200)
    batch = next(batches(1, 99))
    with torch.no_grad():
        expected = dense.eval().forward(batch)["y_pred"]
        assert torch.allclose(sparse.eval().forward(batch)["y_pred"], expected, atol=1e-5)
    sparse.train()
    # Back and forth: each takes up the other's weights and goes on with its own momenta.
    saved = sparse.state_dict()
    assert all(value.is_contiguous() for value in saved.values())
    dense.load_state_dict(saved)
    sparse.load_state_dict(dense.state_dict())
    dense.train()
    assert gap(trained(dense, 50, 1), trained(sparse, 50, 1)) < 1e-6


def test_a_changed_learning_rate_counts_from_its_step_on(tmp_path: Path) -> None:
    dense, sparse = trained(toy(tmp_path, "dense"), 150), trained(toy(tmp_path, "sparse"), 150)
    for model in (dense, sparse):
        model.lr_decay()
        trained(model, 150, 1)
    assert gap(dense, sparse) < 1e-6


def test_a_fresh_optimizer_starts_over(tmp_path: Path) -> None:
    dense, sparse = trained(toy(tmp_path, "dense"), 150), trained(toy(tmp_path, "sparse"), 150)
    for model in (dense, sparse):
        fresh_optimizer(model)
        trained(model, 150, 1)
    assert gap(dense, sparse) < 1e-6


def test_gradients_of_looked_up_rows_are_clipped_with_all_others(tmp_path: Path) -> None:
    batch = next(batches(1, 0))
    batch["user_grad"] = torch.full((ROWS, WIDTH), 1_000.0)
    # The bias has the gradient 8, which alone is not clipped.
    batch["order_grad"] = torch.ones(ROWS)
    dense, sparse = toy(tmp_path, "dense", "SGD"), toy(tmp_path, "sparse", "SGD")
    for model in (dense, sparse):
        model.train_step(batch)
        assert 0 < float(model.bias.grad) < 0.1
    assert gap(dense, sparse) < 1e-6


def test_lazy_steps_are_another_optimizer(tmp_path: Path) -> None:
    dense, lazy = trained(toy(tmp_path, "dense"), 100), trained(toy(tmp_path, "lazy"), 100)
    assert gap(dense, lazy) > 1e-3


def test_small_tables_and_regularised_ones_stay_dense(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert not hasattr(toy(tmp_path, "auto"), "loopfm_tables")
    assert hasattr(toy(tmp_path, "auto", state="row"), "loopfm_tables")
    assert not hasattr(toy(tmp_path, "sparse", embedding_regularizer=1e-5), "loopfm_tables")
    assert "embedding_regularizer moves every row" in caplog.text


def test_a_model_that_reads_a_table_whole_is_refused(tmp_path: Path) -> None:
    model = toy(tmp_path, "sparse")
    forward = model.forward
    model.forward = lambda inputs: {
        "y_pred": forward(inputs)["y_pred"] + model.wide.embedding_layers["tag"].weight.sum()
    }
    with pytest.raises(ConfigError, match="loopfm_table_optimizer: dense"):
        trained(model, 1)
