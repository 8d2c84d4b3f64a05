"""The autoencoder: statistics, Eq. (1), Matryoshka, files; the teacher never notices it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fuxictr_loopfm.compression.autoencoder import (
    Autoencoder,
    AutoencoderSpec,
    CoTrainer,
)
from fuxictr_loopfm.compression.compressor import CompressorSpec, Training
from fuxictr_loopfm.compression.compressors import COMPRESSORS, build_compressor
from fuxictr_loopfm.compression.standardizer import Standardizer
from fuxictr_loopfm.errors import ConfigError, DataError, ProvenanceError


def activations(rows: int, dim: int, seed: int = 0, rank: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(rank, dim, generator=torch.Generator().manual_seed(99))
    return torch.randn(rows, rank, generator=generator) @ mixing


class Teacher(nn.Module):
    """Embedding, batch norm and dropout: weights, buffers and random numbers could all differ."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4)
        self.hidden = nn.Sequential(
            nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3)
        )
        self.out = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.hidden(self.embedding(x).flatten(1))
        return torch.sigmoid(self.out(hidden)), hidden


def train_teacher(*, co_train: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[float]]:
    torch.manual_seed(7)
    data = torch.Generator().manual_seed(1)
    teacher = Teacher()
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-2)
    trainer: CoTrainer | None = None
    losses = []
    for _ in range(40):
        x = torch.randint(0, 20, (32, 3), generator=data)
        y = (x.sum(dim=1, keepdim=True) > 28).float()
        prediction, hidden = teacher(x)
        if co_train:
            trainer = trainer or CoTrainer(AutoencoderSpec(16, dim=4, hidden=8), lr=2e-2)
            losses.append(trainer.step(hidden).item())
        loss = nn.functional.binary_cross_entropy(prediction, y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(teacher.parameters(), 10.0)
        optimizer.step()
    return teacher.state_dict(), torch.get_rng_state(), losses


def test_the_teacher_is_bit_identical_with_and_without_co_training():
    alone, rng_alone, _ = train_teacher(co_train=False)
    together, rng_together, losses = train_teacher(co_train=True)
    assert alone.keys() == together.keys()
    for name, weight in alone.items():
        assert torch.equal(weight, together[name]), name
    assert torch.equal(rng_alone, rng_together)
    assert sum(losses[-5:]) < sum(losses[:5])


def test_no_gradient_reaches_the_activations():
    source = activations(16, 8).requires_grad_()
    CoTrainer(AutoencoderSpec(8, dim=2, hidden=4)).step(source * 2.0)
    assert source.grad is None


def test_building_is_seeded_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = CoTrainer(AutoencoderSpec(6, dim=2), seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    again = CoTrainer(AutoencoderSpec(6, dim=2), seed=1).state_dict()
    other = CoTrainer(AutoencoderSpec(6, dim=2), seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.0.weight"], other["encoder.0.weight"])


@pytest.mark.parametrize("sizes", [(100,), (1, 99), (7, 13, 40, 40)])
def test_running_statistics_equal_those_of_all_rows(sizes):
    e = activations(100, 5) * torch.tensor([1e-3, 1.0, 10.0, 1.0, 1.0]) + 4.0
    standardizer = Standardizer(5)
    for part in e.split(sizes):
        standardizer.update(part)
    whole = e.double().numpy()
    np.testing.assert_allclose(standardizer.mean.numpy(), whole.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(standardizer.variance().numpy(), whole.var(axis=0), rtol=1e-4)
    standard = standardizer(e)
    np.testing.assert_allclose(standard.mean(dim=0).numpy(), 0.0, atol=2e-3)
    np.testing.assert_allclose(standard.var(dim=0, correction=0).numpy(), 1.0, atol=5e-3)


@pytest.mark.parametrize("constant", [0.0, 3.3333333, -1e6])
def test_constant_dimensions_stay_near_zero_and_train_finitely(constant):
    e = activations(64, 4)
    e[:, 2] = constant
    trainer = CoTrainer(AutoencoderSpec(4, dim=2, hidden=8))
    for _ in range(5):
        assert torch.isfinite(trainer.step(e))
    assert trainer.autoencoder.standardizer(e)[:, 2].abs().max() < 0.1
    assert all(torch.isfinite(value).all() for value in trainer.state_dict().values())


def test_a_dead_unit_that_fires_once_does_not_drown_the_others():
    autoencoder = Autoencoder(3, dim=2)
    e = torch.tensor([[0.0, 1.0, -1.0], [0.0, -1.0, 1.0]])
    autoencoder.standardizer.update(e)
    assert autoencoder.standardizer(torch.tensor([[5.0, 1.0, 1.0]])).tolist() == [[10.0, 1.0, 1.0]]


def test_all_constant_activations_are_finite():
    trainer = CoTrainer(AutoencoderSpec(3, dim=2))
    assert torch.isfinite(trainer.step(torch.ones(4, 3)))
    assert torch.isfinite(trainer.autoencoder.encode(torch.zeros(4, 3))).all()


def test_small_scales_count_as_much_as_large_ones():
    e = activations(200, 4) * torch.tensor([1e-2, 1.0, 1.0, 5.0])
    standardizer = Standardizer(4)
    standardizer.update(e)
    np.testing.assert_allclose(standardizer(e).std(dim=0, correction=0), np.ones(4), rtol=1e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_activations_are_refused_and_leave_no_trace(bad):
    trainer = CoTrainer(AutoencoderSpec(4, dim=2, hidden=8))
    trainer.step(activations(8, 4))
    before = {name: value.clone() for name, value in trainer.state_dict().items()}
    e = activations(8, 4)
    e[3, 2] = bad
    with pytest.raises(DataError, match=r"dimension 2.*diverged"):
        trainer.step(e)
    assert all(torch.equal(value, before[name]) for name, value in trainer.state_dict().items())


def test_wrong_width_and_empty_batches_are_refused():
    trainer = CoTrainer(AutoencoderSpec(4, dim=2))
    with pytest.raises(DataError, match=r"expected \(B, 4\), found \(8, 5\).*other taps"):
        trainer.step(torch.zeros(8, 5))
    with pytest.raises(DataError, match=r"expected \(B, 4\)"):
        trainer.autoencoder.encode(torch.zeros(4))
    with pytest.raises(DataError, match="at least one row"):
        trainer.step(torch.zeros(0, 4))


def test_encode_is_bounded_and_changes_nothing():
    trainer = CoTrainer(AutoencoderSpec(6, dim=3, hidden=8))
    trainer.step(activations(32, 6))
    autoencoder = trainer.autoencoder
    assert autoencoder.training
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    z = autoencoder.encode(activations(50, 6, seed=5) * 100)
    assert z.shape == (50, 3)
    assert z.dtype == torch.float32
    assert z.abs().max() <= 1.0
    torch.testing.assert_close(autoencoder(activations(50, 6, seed=5) * 100), z, rtol=0, atol=0)
    autoencoder.eval()
    autoencoder.loss(activations(50, 6, seed=6))
    assert all(torch.equal(v, before[name]) for name, v in autoencoder.state_dict().items())


def test_loss_of_a_linear_autoencoder_by_hand():
    autoencoder = Autoencoder(2, dim=1, hidden=0).eval()
    with torch.no_grad():
        autoencoder.encoder[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
        autoencoder.encoder[0].bias.zero_()
        autoencoder.decoder[0].weight.copy_(torch.tensor([[2.0], [0.0]]))
        autoencoder.decoder[0].bias.copy_(torch.tensor([0.0, 1.0]))
    autoencoder.standardizer.update(torch.tensor([[1.0, 3.0], [3.0, 7.0]]))  # mean 2, 5; std 1, 2
    # (2.5, 5) standardises to (0.5, 0); z = tanh(0.5); decoded (2 z, 1).
    z = np.tanh(0.5)
    expected = ((2 * z - 0.5) ** 2 + 1.0) / 2
    assert autoencoder.loss(torch.tensor([[2.5, 5.0]])).item() == pytest.approx(expected, rel=1e-5)


def test_matryoshka_loss_sums_over_prefixes_with_zeroed_tails():
    torch.manual_seed(0)
    autoencoder = Autoencoder(6, dim=4, hidden=5, matryoshka_dims=(1, 2)).eval()
    e = activations(10, 6)
    autoencoder.standardizer.update(e)
    target = autoencoder.standardizer(e)
    z = autoencoder.encode(e)
    expected = 0.0
    for kept in ([1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]):
        decoded = autoencoder.decoder(z * torch.tensor(kept, dtype=torch.float32))
        expected += (decoded - target).square().mean().item()
    assert autoencoder.loss(e).item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(
        autoencoder.decode(z[:, :2]), autoencoder.decoder(z * torch.tensor([1.0, 1.0, 0.0, 0.0]))
    )


def test_matryoshka_prefix_reconstructs_better_than_a_plain_prefix():
    def prefix_error(prefixes: tuple[int, ...]) -> float:
        batches = [activations(64, 12, seed=i, rank=4) for i in range(150)]
        trainer = CoTrainer(AutoencoderSpec(12, 4, 16, prefixes), lr=1e-2)
        for batch in batches:
            trainer.step(batch)
        autoencoder = trainer.autoencoder
        e = activations(200, 12, seed=1000, rank=4)
        with torch.no_grad():
            decoded = autoencoder.decode(autoencoder.encode(e)[:, :2])
            return (decoded - autoencoder.standardizer(e)).square().mean().item()

    assert prefix_error((2,)) < 0.8 * prefix_error(())


def test_low_rank_activations_are_learned_and_the_same_every_time():
    def trained_on_them() -> CoTrainer:
        trainer = CoTrainer(AutoencoderSpec(10, dim=3, hidden=32), lr=1e-2)
        with torch.no_grad():  # as in the pass over a finished teacher
            for seed in range(200):
                trainer.step(activations(64, 10, seed=seed))
        return trainer

    trainer, again = trained_on_them(), trained_on_them()
    with torch.no_grad():
        # 1.0 is the error of always answering the mean.
        assert trainer.autoencoder.eval().loss(activations(500, 10, seed=999)) < 0.1
    for name, value in trainer.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize(
    ("kind", "hidden", "epochs", "learns"),
    [
        ("co_train", 8, 0, True),
        ("post_hoc", 8, 3, True),
        ("untrained", 8, 0, False),
        ("random_projection", 0, 0, False),
    ],
)
def test_each_compressor_learns_when_it_says(kind, hidden, epochs, learns):
    options = {"hidden": 8, "lr": 1e-2, "epochs": 3, "matryoshka_dims": "1+2"}
    own = {option.name: options[option.name] for option in COMPRESSORS[kind].options}
    spec = CompressorSpec(kind, 3, own)
    assert COMPRESSORS[kind].epochs_afterwards(spec) == epochs
    compressor = build_compressor(spec, Training(6, (1, 2), seed=5))
    assert compressor.spec == AutoencoderSpec(6, 3, hidden, (1, 2), (1, 2))
    before = {name: value.clone() for name, value in compressor.state_dict().items()}
    compressor.step(activations(32, 6), torch.zeros(32))
    after = compressor.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    statistics = {name for name in after if name.startswith("standardizer.")}
    assert moved >= statistics and (moved > statistics) is learns
    assert compressor.encode(activations(4, 6)).shape == (4, compressor.dim)


def test_bad_shapes_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        CoTrainer(AutoencoderSpec(0, dim=4, hidden=-1, matryoshka_dims=(2, 8)))
    assert len(caught.value.problems) == 3
    assert "expected 1 to dim=4, found 8" in str(caught.value)


def trained() -> CoTrainer:
    spec = AutoencoderSpec(6, dim=3, hidden=8, matryoshka_dims=(1,), fit_periods=(1, 2, 3))
    trainer = CoTrainer(spec)
    for seed in range(3):
        trainer.step(activations(32, 6, seed=seed))
    return trainer


def test_a_saved_autoencoder_encodes_alike(tmp_path):
    trainer = trained()
    trainer.save(tmp_path / "compressor.pt")
    loaded = CoTrainer.load(tmp_path / "compressor.pt")
    e = activations(20, 6, seed=8)
    assert torch.equal(loaded.autoencoder.encode(e), trainer.autoencoder.encode(e))
    assert loaded.spec == trainer.spec
    assert not loaded.autoencoder.training


def test_equal_trainers_save_equal_bytes(tmp_path):
    trained().save(tmp_path / "a.pt")
    trained().save(tmp_path / "other_name.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other_name.pt").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "other_name.pt"]


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "compressor.pt"
    with pytest.raises(ProvenanceError, match=r"compressor.pt: no such file"):
        CoTrainer.load(path)
    trained().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ProvenanceError, match=r"compressor.pt: .*damaged"):
        CoTrainer.load(path)
    torch.save({"state": {}}, path)
    with pytest.raises(ProvenanceError, match="schema: expected 'loopfm.autoencoder'"):
        CoTrainer.load(path)


@pytest.mark.parametrize("change", [{"dim": 4}, {"dim": 0}, {"extra": 1}, {"input_dim": "six"}])
def test_header_and_weights_must_agree(tmp_path, change):
    path = tmp_path / "compressor.pt"
    trained().save(path)
    content = torch.load(path, weights_only=True)
    content["spec"].update(change)
    torch.save(content, path)
    with pytest.raises(ProvenanceError, match="weights and header disagree"):
        CoTrainer.load(path)
