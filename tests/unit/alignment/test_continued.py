"""Alignments that steer a compressor while its teacher drifts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fuxictr_loopfm.alignment.alignment import Alignment
from fuxictr_loopfm.alignment.alignments import ALIGNMENTS, build_alignment
from fuxictr_loopfm.compression.autoencoder import AutoencoderSpec, CoTrainer
from fuxictr_loopfm.compression.compressor import Compressor, CompressorSpec, Training
from fuxictr_loopfm.errors import ConfigError

WIDTH, DIM, BATCH = 12, 3, 64
LABEL = torch.zeros(BATCH)


def activations(number: int, drift: float = 0.0) -> Tensor:
    """A batch of a teacher whose activations turn as it learns."""
    random = torch.Generator().manual_seed(number)
    inner = torch.randn(BATCH, DIM, generator=random)
    axes = torch.randn(DIM, WIDTH, generator=torch.Generator().manual_seed(7))
    other = torch.randn(DIM, WIDTH, generator=torch.Generator().manual_seed(8))
    return torch.relu(inner @ ((1 - drift) * axes + drift * other))


def fitted() -> CoTrainer:
    trainer = CoTrainer(AutoencoderSpec(WIDTH, DIM, 16), lr=1e-2)
    for number in range(200):
        trainer.step(activations(number))
    return trainer


@pytest.fixture(scope="module")
def first() -> CoTrainer:
    return fitted()


def went_on(first: CoTrainer, kind: str, drift: float = 0.6, **options: Any) -> CoTrainer:
    """The compressor after a drift that it followed under an alignment."""
    trainer, alignment = copy.deepcopy(first), build_alignment(kind, options)
    trainer._optimizer = torch.optim.Adam(trainer.autoencoder.parameters(), lr=1e-2)
    alignment.begin(trainer, {})
    for number in range(1_000, 1_150):
        e = activations(number, drift)
        alignment.step(trainer, e, LABEL, first.encode(activations(number)).detach())
    return trainer


def read_by(decoder_of: CoTrainer, trainer: CoTrainer, drift: float = 0.6) -> float:
    """Error of a decoder on another version's embeddings of rows that neither learned."""
    e, reader = activations(9_999, drift), decoder_of.autoencoder
    with torch.no_grad():
        told = reader.decode(trainer.encode(e))
        return float((told - reader.standardizer(e)).square().mean())


def test_a_frozen_compressor_learns_nothing(first: CoTrainer) -> None:
    after = went_on(first, "frozen_compressor")
    assert all(torch.equal(value, after.state_dict()[n]) for n, value in first.state_dict().items())


def test_none_goes_on_as_if_there_were_no_alignments(first: CoTrainer) -> None:
    plain = copy.deepcopy(first)
    plain._optimizer = torch.optim.Adam(plain.autoencoder.parameters(), lr=1e-2)
    for number in range(1_000, 1_150):
        plain.step(activations(number, 0.6))
    after = went_on(first, "none")
    assert all(torch.equal(value, after.state_dict()[n]) for n, value in plain.state_dict().items())


def test_one_decoder_reads_all_versions(first: CoTrainer) -> None:
    after, free = went_on(first, "fixed_decoder"), went_on(first, "none")
    kept = ("decoder.", "standardizer.")
    for name, value in first.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]) == name.startswith(kept), name
    assert read_by(first, after) < read_by(first, free)
    assert read_by(first, after) < read_by(first, first), "it learned the new activations"


def test_a_back_compatible_encoder_is_read_by_the_first_decoder(first: CoTrainer) -> None:
    after, free = went_on(first, "back_compatible"), went_on(first, "none")
    assert read_by(first, after) < read_by(first, free)
    own = went_on(first, "back_compatible", weight=0.0)
    assert read_by(own, own) == pytest.approx(read_by(free, free), rel=1e-3), "no weight, no tie"


def test_an_anchored_encoder_stays_near_what_was_logged(first: CoTrainer) -> None:
    def distance(trainer: CoTrainer) -> float:
        old = first.encode(activations(9_999))
        return float((trainer.encode(activations(9_999, 0.6)) - old).square().mean())

    with torch.no_grad():
        anchored, free = went_on(first, "anchored", weight=10.0), went_on(first, "none")
        assert distance(anchored) < 0.5 * distance(free)


def test_rows_that_nobody_logged_anchor_nothing(first: CoTrainer) -> None:
    one, other = copy.deepcopy(first), copy.deepcopy(first)
    build_alignment("anchored", {}).step(one, activations(1), LABEL, None)
    other.step(activations(1))
    assert all(torch.equal(value, other.state_dict()[n]) for n, value in one.state_dict().items())


@settings(max_examples=40)
@given(st.floats(0, 0.99), st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.floats(-3, 3))
def test_the_mean_of_checkpoints_weighs_them_by_age(
    momentum: float, later: list[float], start: float
) -> None:
    alignment = build_alignment("ema", {"momentum": momentum})
    alignment.begin(fitted_never(), {"w": torch.tensor(start), "n": torch.tensor(1)})
    expected = start
    for place, value in enumerate(later):
        alignment.learned({"w": torch.tensor(value), "n": torch.tensor(place)})
        expected = momentum * expected + (1 - momentum) * value
    found = alignment.logs_with()
    assert found is not None
    assert float(found["w"]) == pytest.approx(expected, abs=1e-5)
    assert int(found["n"]) == len(later) - 1, "counts are the newest's"
    again = build_alignment("ema", {"momentum": momentum})
    again.begin(fitted_never(), {"w": torch.tensor(start), "n": torch.tensor(1)})
    again.load_state(alignment.state())
    assert float(again.logs_with()["w"]) == float(found["w"])  # type: ignore[index]


def fitted_never() -> CoTrainer:
    return CoTrainer(AutoencoderSpec(WIDTH, DIM, 0))


class _NoEncoder(Compressor):
    kind = "no_encoder"

    @classmethod
    def build(cls, spec: CompressorSpec, training: Training) -> Compressor:
        return cls()

    @property
    def dim(self) -> int:
        return DIM

    def step(self, e: Tensor, label: Tensor) -> Tensor:
        return e.sum()

    def encode(self, e: Tensor) -> Tensor:
        return e[:, :DIM]

    def save(self, path: Path | str) -> None: ...

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> Compressor:
        return cls()


def test_what_needs_an_autoencoder_says_so() -> None:
    refused = []
    for kind in ALIGNMENTS:
        alignment: Alignment = build_alignment(kind, {})
        try:
            alignment.begin(_NoEncoder(), {})
        except ConfigError as error:
            assert "expected a compressor with an encoder and a decoder" in str(error)
            refused.append(kind)
    assert refused == ["anchored", "back_compatible", "fixed_decoder"]


def test_an_unknown_alignment_is_refused() -> None:
    with pytest.raises(ConfigError, match="alignment: expected one of none, frozen_compressor"):
        build_alignment("procustes", {})
