"""The autoencoder that shortens a teacher's activations, and its training beside the teacher.

Stage 2 of the pipeline. Activations enter detached, so the teacher never sees a gradient, and the
co-trainer leaves torch's global random state alone: a teacher trained with it ends with the very
weights it would have without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fuxictr_loopfm.compression.compressor import Compressor, CompressorSpec, Training
from fuxictr_loopfm.compression.saved_weights import read_weights, write_weights
from fuxictr_loopfm.compression.standardizer import Standardizer
from fuxictr_loopfm.errors import ConfigError, DataError, ProvenanceError
from fuxictr_loopfm.registry import Option

SCHEMA = "loopfm.autoencoder"
VERSION = 1
_MISFITS = (AttributeError, KeyError, RuntimeError, TypeError, ValueError)


class Autoencoder(nn.Module):
    """Standardise, then Linear-ReLU-Linear-tanh, with a mirrored decoder.

    Paper: arXiv:2605.29280, Eq. (1). The mean over dimensions, the hidden layer and the
    standardisation are ours.

    Args:
        input_dim: width D of the tapped activations.
        dim: width d of the embedding.
        hidden: width of the hidden layer; 0 makes encoder and decoder one linear layer each.
        matryoshka_dims: prefixes of the embedding that shall be usable alone (Kusupati 2022, with
            one decoder for all prefixes); ``dim`` always counts as one of them.

    Raises:
        ConfigError: a width below 1, or a prefix longer than ``dim``.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 32,
        hidden: int = 256,
        matryoshka_dims: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        _check_shape(input_dim, dim, hidden, matryoshka_dims)
        self.input_dim = input_dim
        self.dim = dim
        self.hidden = hidden
        self.matryoshka_dims = tuple(sorted({*matryoshka_dims, dim}))
        self.standardizer = Standardizer(input_dim)
        self.encoder = _stack(input_dim, hidden, dim)
        self.decoder = _stack(dim, hidden, input_dim)

    def encode(self, e: Tensor) -> Tensor:
        """Activations (B, D) to embeddings (B, d) float32 in [-1, 1]; updates no statistics.

        Raises:
            DataError: wrong width.
        """
        return torch.tanh(self.encoder(self.standardizer(self._checked(e))))

    def forward(self, e: Tensor) -> Tensor:
        """The same as ``encode``."""
        return self.encode(e)

    def decode(self, z: Tensor) -> Tensor:
        """Embeddings or their prefixes (B, <= d) to standardised activations (B, D)."""
        decoded: Tensor = self.decoder(self._padded(z))
        return decoded

    def _padded(self, z: Tensor) -> Tensor:
        return nn.functional.pad(z, (0, self.dim - z.shape[1]))

    def loss(
        self, e: Tensor, *, decoder: nn.Module | None = None, keep_scale: bool = False
    ) -> Tensor:
        """Scalar reconstruction error: mean over B and D, summed over the Matryoshka prefixes.

        ``e`` (B, D) is detached: no gradient reaches the teacher (stop-gradient of Eq. (1)). In
        training mode the rows first enter the running statistics.

        Args:
            e: the activations.
            decoder: reads the embeddings instead of the own one.
            keep_scale: leave the running statistics as they are.
        Raises:
            DataError: wrong width, no rows, or (in training mode) NaN or infinite values.
        """
        e = self._checked(e.detach())
        if self.training and not keep_scale:
            self.standardizer.update(e)
        target = self.standardizer(e)
        z = torch.tanh(self.encoder(target))
        reader = self.decoder if decoder is None else decoder
        errors = [
            nn.functional.mse_loss(reader(self._padded(z[:, :prefix])), target)
            for prefix in self.matryoshka_dims
        ]
        return torch.stack(errors).sum()

    def _checked(self, e: Tensor) -> Tensor:
        if e.ndim != 2 or e.shape[1] != self.input_dim:
            raise DataError(
                f"autoencoder: activations: expected (B, {self.input_dim}), "
                f"found {tuple(e.shape)}; was it trained on other taps?"
            )
        return e


def _check_shape(input_dim: int, dim: int, hidden: int, prefixes: Sequence[int]) -> None:
    problems = [
        f"autoencoder {name}: expected {least} or more, found {value}"
        for name, value, least in (
            ("input_dim", input_dim, 1),
            ("dim", dim, 1),
            ("hidden", hidden, 0),
        )
        if value < least
    ]
    problems += [
        f"autoencoder matryoshka_dims: expected 1 to dim={dim}, found {prefix}"
        for prefix in prefixes
        if not 1 <= prefix <= dim
    ]
    if problems:
        raise ConfigError(problems)


def _stack(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    if hidden == 0:
        return nn.Sequential(nn.Linear(inputs, outputs))
    activation = nn.ReLU(inplace=True)
    return nn.Sequential(nn.Linear(inputs, hidden), activation, nn.Linear(hidden, outputs))


@dataclass(frozen=True)
class AutoencoderSpec:
    """Everything but the weights: the header of a saved autoencoder.

    Attributes:
        input_dim, dim, hidden, matryoshka_dims: as in ``Autoencoder``.
        fit_periods: periods of the log it was trained on (provenance).
    """

    input_dim: int
    dim: int = 32
    hidden: int = 256
    matryoshka_dims: tuple[int, ...] = ()
    fit_periods: tuple[int, ...] = ()


class CoTrainer(Compressor):
    """Trains an autoencoder beside a teacher, with an optimiser of its own.

    Neither building nor stepping it draws from torch's global random state.

    Args:
        spec: shape and provenance.
        lr: learning rate of its Adam.
        seed: of the initial weights.
        device: where the weights live and activations are moved to.
    """

    kind = "co_train"
    options: ClassVar[tuple[Option, ...]] = (
        Option("hidden", int, 256, at_least=1),
        Option("lr", float, 1e-3, at_least=0),
        # Prefixes that shall be usable alone, joined by "+".
        Option("matryoshka_dims", str, None, key="matryoshka_dims"),
    )

    def __init__(
        self,
        spec: AutoencoderSpec,
        *,
        lr: float = 1e-3,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spec = spec
        self.device = torch.device(device)
        # torch.manual_seed would also reseed the accelerators, which fork_rng does not restore
        # here; the weights are drawn on the CPU only.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            autoencoder = Autoencoder(spec.input_dim, spec.dim, spec.hidden, spec.matryoshka_dims)
        self.autoencoder = autoencoder.to(self.device)
        self._optimizer = torch.optim.Adam(self.autoencoder.parameters(), lr=lr)

    @classmethod
    def build(cls, spec: CompressorSpec, training: Training) -> CoTrainer:
        """An autoencoder with fresh weights."""
        shape = AutoencoderSpec(
            input_dim=training.input_dim,
            dim=spec.dim,
            hidden=cls.hidden_width(spec),
            matryoshka_dims=tuple(int(part) for part in _prefixes(spec)),
            fit_periods=training.fit_periods,
        )
        return cls(shape, lr=spec.options["lr"], seed=training.seed, device=training.device)

    @classmethod
    def hidden_width(cls, spec: CompressorSpec) -> int:
        """Width of the autoencoder's hidden layer; 0 for one linear layer."""
        hidden: int = spec.options["hidden"]
        return hidden

    @classmethod
    def problems(cls, spec: CompressorSpec) -> list[str]:
        """Prefixes longer than the embedding."""
        return [
            f"loopfm_matryoshka_dims: expected widths of 1 to loopfm_dim={spec.dim} joined by '+', "
            f"found {part!r}"
            for part in _prefixes(spec)
            if not part.isdecimal() or not 1 <= int(part) <= spec.dim
        ]

    @property
    def dim(self) -> int:
        """Width d of the embedding."""
        return self.autoencoder.dim

    def step(self, e: Tensor, label: Tensor | None = None) -> Tensor:
        """One optimisation step on activations (B, D); returns the detached scalar loss.

        Raises:
            DataError: as ``Autoencoder.loss``; the weights are then unchanged.
        """
        return self.descend(lambda network: network.loss(e.to(self.device)))

    def descend(self, loss_of: Callable[[Autoencoder], Tensor]) -> Tensor:
        """One optimisation step on a loss of the autoencoder; returns it, () detached."""
        self.autoencoder.train()
        with torch.enable_grad():
            loss = loss_of(self.autoencoder)
            self._optimizer.zero_grad()
            loss.backward()
        self._optimizer.step()
        return loss.detach()

    def training_state(self) -> dict[str, Any]:
        """The weights and the optimizer's state."""
        return {"weights": self.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """As in the base class."""
        self.autoencoder.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])

    def encode(self, e: Tensor) -> Tensor:
        """As ``Autoencoder.encode``."""
        return self.autoencoder.encode(e)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and running statistics of the autoencoder."""
        return self.autoencoder.state_dict()

    def save(self, path: Path | str) -> None:
        """Write weights and header to ``path``, atomically; equal trainers give equal bytes."""
        write_weights(path, SCHEMA, VERSION, asdict(self.spec), self.state_dict())

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> CoTrainer:
        """Read what ``save`` wrote, ready to encode (eval mode); the optimiser starts afresh.

        Raises:
            ProvenanceError: the file is missing, damaged, or not an autoencoder of this version.
        """
        content = read_weights(path, SCHEMA, VERSION)
        try:
            fields = dict(content["spec"])
            for name in ("matryoshka_dims", "fit_periods"):
                fields[name] = tuple(fields[name])
            spec = AutoencoderSpec(**fields)
            _check_weights(spec, content["state"], Path(path))
            trainer = cls(spec, device=device)
            trainer.autoencoder.load_state_dict(content["state"])
        except (ConfigError, *_MISFITS) as error:
            raise ProvenanceError(
                f"{path}: weights and header disagree ({error}); train the compressor again"
            ) from error
        trainer.autoencoder.eval()
        return trainer


def _prefixes(spec: CompressorSpec) -> list[str]:
    text: str = spec.options["matryoshka_dims"] or ""
    return [part.strip() for part in text.split("+") if part.strip()]


def _check_weights(spec: AutoencoderSpec, state: Any, path: Path) -> None:
    """Compare the header with the weights before it makes us reserve memory for its shapes."""
    with torch.device("meta"):
        wanted = Autoencoder(
            spec.input_dim, spec.dim, spec.hidden, spec.matryoshka_dims
        ).state_dict()
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    if found != expected:
        raise ValueError(f"expected weights {expected}, found {found}")
    # A tensor may repeat one stored number a billion times.
    needed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    stored = path.stat().st_size
    if needed > stored:
        raise ValueError(f"expected {needed} bytes of weights, found a file of {stored}")
