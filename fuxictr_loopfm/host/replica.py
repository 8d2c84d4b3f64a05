"""A FuxiCTR model that all ranks train together, through torch's DistributedDataParallel.

FuxiCTR's ``train_step`` calls the model's ``forward`` and computes the loss, with regularisers and
whatever a distiller adds, outside of it. DDP must see the whole loss to tell which parameters took
part, so it wraps a module whose forward returns the loss, and the model gets a ``train_step`` that
calls that one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from types import MethodType
from typing import Any

import torch
from fuxictr.pytorch.models import BaseModel
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.distillation.registry import transfer_class
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.distributed import rank, world_size
from fuxictr_loopfm.host.table_optimizer import TableOptimizer, table_names
from fuxictr_loopfm.host.trainer import predict


class _WeightedLoss(nn.Module):
    """The model's loss on this rank's rows; its mean over the ranks is the whole batch's loss.

    Holds for losses that are means over rows plus terms that do not depend on rows. Parameters
    that the optimizer has beyond the model's own, a distiller's heads, are registered as well.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        own = {id(parameter) for parameter in model.parameters()}
        groups = model.optimizer.param_groups
        self.beyond = nn.ParameterList(
            p for group in groups for p in group["params"] if id(p) not in own
        )

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """() loss, times this rank's rows over the ranks' mean number of rows."""
        labels = self.model.get_labels(batch)
        mean_rows = torch.tensor(float(len(labels)), device=labels.device)
        dist.all_reduce(mean_rows)
        mean_rows /= world_size()
        loss: Tensor = self.model.compute_loss(self.model.forward(batch), labels)
        return loss * (len(labels) / mean_rows)


class Replica:
    """One rank's copy of a model, behind the methods that FuxiCTR and our own loop call.

    ``train_step`` takes one optimisation step of all ranks, ``evaluate`` scores the rows of all
    ranks, so that every rank stops early at the same step, ``save_weights`` writes on rank 0, and
    ``load_weights`` gives every rank what rank 0 reads.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._save_weights: Callable[[str], None] = model.save_weights
        self._load_weights: Callable[[str], None] = model.load_weights

    @cached_property
    def _parallel(self) -> DistributedDataParallel:
        """Made at the first step: a distiller adds its heads after the model got its replica."""
        # Some parameters may take no part in a batch, and then get no gradient, as in one process.
        whole = _WeightedLoss(self.model)
        # Tables with an optimizer of their own exchange the rows that were read, not themselves.
        own = [f"model.{name}" for name in table_names(self.model)]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(whole, own)
        parallel = DistributedDataParallel(whole, find_unused_parameters=True)
        # All ranks start from one seed; masks of dropout must differ between them.
        torch.manual_seed(int(torch.randint(2**31, ())) + rank())
        return parallel

    def train_step(self, batch: Mapping[str, Any]) -> Tensor:
        """FuxiCTR's training step on a batch of which this rank holds a part; () its loss."""
        model = self.model
        model.optimizer.zero_grad()
        tables: TableOptimizer | None = getattr(model, "loopfm_tables", None)
        with tables.reading() if tables else nullcontext():
            loss: Tensor = self._parallel(batch)
        loss.backward()
        if tables:
            tables.clip_and_step(model._max_gradient_norm)
        else:
            nn.utils.clip_grad_norm_(model.parameters(), model._max_gradient_norm)
            model.optimizer.step()
        mean = loss.detach() / world_size()
        # On all ranks, so that they also agree on a loss that is not finite.
        dist.all_reduce(mean)
        return mean

    def evaluate(
        self, batches: Iterable[Any], metrics: Sequence[str] | None = None
    ) -> dict[str, float]:
        """FuxiCTR's metrics of a split, equal on all ranks."""
        model = self.model
        self._share_buffers()
        found = predict(model, batches)
        values: dict[str, float] = model.evaluate_metrics(
            found["y_true"],
            found["y_pred"],
            model.validation_metrics if metrics is None else metrics,
            found.get("group"),
        )
        logging.info("[Metrics] %s", " - ".join(f"{k}: {v:.6f}" for k, v in values.items()))
        return values

    def save_weights(self, checkpoint: str) -> None:
        """Write the checkpoint on rank 0; no rank goes on before it is there."""
        self._share_buffers()
        if rank() == 0:
            self._save_weights(checkpoint)
        dist.barrier()

    def load_weights(self, checkpoint: str) -> None:
        """Read rank 0's own weights on all ranks.

        Only rank 0 knows what it wrote: another run of the same expid may have given the name to
        weights of its own since.
        """
        if rank() == 0:
            self._load_weights(checkpoint)
        state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        for value in state.values():
            dist.broadcast(value, src=0)
        if rank() > 0:
            self.model.load_state_dict(state)

    def _share_buffers(self) -> None:
        """Running averages are rank 0's: between steps each rank has moved its own."""
        for buffer in self.model.buffers():
            dist.broadcast(buffer, src=0)


def train_on_all_ranks(model: Any, keys: LoopFMKeys) -> None:
    """Make ``model`` a replica, so that each step is one of all ranks; call before any distiller.

    Raises:
        ConfigError: a step of this model or loss is not the mean of steps on parts of its batch.
    """
    if type(model).train_step is not BaseModel.train_step:
        raise ConfigError(
            f"torchrun: model {type(model).__name__} has a train_step of its own, which cannot be "
            "divided between processes. Run it with python instead."
        )
    for spec in keys.transfers:
        if transfer_class(spec).needs_whole_batch:
            raise ConfigError(
                f"torchrun: loopfm_{spec.key}: {spec.kind} compares each sample with all others of "
                "its batch, which no process holds whole. Run it with python instead."
            )
    replica = Replica(model)
    model.train_step = MethodType(lambda _, batch: replica.train_step(batch), model)
    model.evaluate = MethodType(
        lambda _, batches, metrics=None: replica.evaluate(batches, metrics), model
    )
    model.save_weights = MethodType(lambda _, path: replica.save_weights(path), model)
    model.load_weights = MethodType(lambda _, path: replica.load_weights(path), model)
