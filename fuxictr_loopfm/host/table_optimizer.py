"""Training steps that touch only the table rows of their batch, and end where dense ones do.

FuxiCTR clips and updates every row of every embedding table in every step. Here the tables of a
model are put into arenas (``tables/arena.py``). A look-up first brings its rows to where the dense
optimizer would have them; what comes back as gradient is kept beside the model, counted in the
clipping, and applied to those rows alone. The model's code, its parameters and its checkpoints stay
what they are; before anybody reads a whole table, all rows are brought up to date.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any

import torch
from fuxictr.pytorch.layers import FeatureEmbeddingDict
from fuxictr.pytorch.models import BaseModel
from fuxictr.utils import not_in_whitelist
from torch import Tensor, nn
from torch.nn import functional as F

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host import distributed
from fuxictr_loopfm.tables.arena import Arena, Lookup
from fuxictr_loopfm.tables.rules import rule_of

_TABLE_TYPES = ("categorical", "sequence")
# Sparse steps take as long as dense ones at 200,000 table weights and half as long at a million;
# below this there is little to gain, and short runs keep the bits of dense ones.
LEAST_WEIGHTS = 700_000
# As torch's clip_grad_norm_.
_CLIP_EPS = 1e-6


class _ReadRows(torch.autograd.Function):
    """Rows of an arena; the gradient goes to the arena's owner and nowhere else."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, weight: Tensor, index: Tensor, give_back: Any) -> Tensor:
        """(M, w) rows at ``index`` (M,) of ``weight`` (N, w); ``anchor`` asks for a backward."""
        ctx.give_back = give_back
        return weight.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None, None]:
        """Hand the gradient over."""
        ctx.give_back(grads[0])
        return None, None, None, None


class TableOptimizer:
    """The optimizer of a model's embedding tables.

    Args:
        model: a FuxiCTR model.
        arenas: of its tables.
    """

    def __init__(self, model: Any, arenas: Sequence[Arena]) -> None:
        self.model, self.arenas = model, tuple(arenas)
        self._place = {
            id(table): (arena, number)
            for arena in arenas
            for number, table in enumerate(arena.tables)
        }
        self._anchor = torch.zeros((), device=model.device, requires_grad=True)
        self._is_reading = False
        self._lookups: dict[int, list[Lookup]] = {}
        self._used: dict[int, set[int]] = {}
        self._distinct: dict[tuple[Any, ...], tuple[Tensor, Tensor, Tensor]] = {}
        self._ready: dict[tuple[int, int], Tensor] = {}
        self._lr = float(model.optimizer.param_groups[0]["lr"])
        # The model's, found again after each ``model.train()``: to walk all modules takes a while.
        self.parameters: list[nn.Parameter] | None = None
        for arena in self.arenas:
            for table in arena.tables:
                object.__setattr__(table, "forward", partial(self.look_up, table))
        for layer in _layers(model):
            object.__setattr__(layer, "forward", partial(self._read_layer, layer))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A training step's forward pass: look-ups inside it are of caught-up rows."""
        self._lookups.clear()
        self._used.clear()
        self._distinct.clear()
        self._is_reading = True
        try:
            yield
        finally:
            self._is_reading = False
            self._ready.clear()

    def read_together(self, layers: Mapping[nn.Embedding, Sequence[Tensor]]) -> None:
        """Look several tables up at once; each table's own look-up then finds its part ready.

        Args:
            layers: the ids that each table is going to be asked for, int64.
        """
        if not (self._is_reading and torch.is_grad_enabled()):
            return
        by_arena: dict[int, list[tuple[int, int, Tensor]]] = {}
        for table, wanted in layers.items():
            if id(table) in self._place:
                arena, number = self._place[id(table)]
                entries = by_arena.setdefault(id(arena), [])
                entries += [(id(table), number, ids) for ids in wanted]
        for arena in self.arenas:
            entries = by_arena.get(id(arena), [])
            if not entries:
                continue
            parts = [ids.reshape(-1) for _, _, ids in entries]
            values = self._read(arena, [number for _, number, _ in entries], parts)
            pieces = values.split([len(part) for part in parts])
            for (table_id, _, ids), piece in zip(entries, pieces, strict=True):
                self._ready[table_id, ids.data_ptr()] = piece.view(*ids.shape, -1)

    def _read_layer(
        self,
        layer: FeatureEmbeddingDict,
        inputs: Mapping[str, Any],
        feature_source: Sequence[str] = (),
        feature_type: Sequence[str] = (),
    ) -> Any:
        """The layer's own forward, whose look-ups are done together before it asks for them."""
        wanted: dict[nn.Embedding, list[Tensor]] = {}
        for name, ids in inputs.items():
            spec = layer._feature_map.features[name]
            if spec["type"] not in _TABLE_TYPES or name not in layer.embedding_layers:
                continue
            if feature_source and not_in_whitelist(spec["source"], feature_source):
                continue
            if feature_type and not_in_whitelist(spec["type"], feature_type):
                continue
            wanted.setdefault(layer.embedding_layers[name], []).append(ids)
        self.read_together(wanted)
        return type(layer).forward(layer, inputs, feature_source, feature_type)

    def look_up(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        """What the table's own forward returns, ids (...) to (..., w)."""
        if not (self._is_reading and torch.is_grad_enabled()):
            return F.embedding(ids, table.weight, table.padding_idx)
        ready = self._ready.pop((id(table), ids.data_ptr()), None)
        if ready is not None and ready.shape[:-1] == ids.shape:
            return ready
        arena, number = self._place[id(table)]
        return self._read(arena, [number], [ids.reshape(-1)]).view(*ids.shape, -1)

    def _read(self, arena: Arena, numbers: Sequence[int], parts: Sequence[Tensor]) -> Tensor:
        starts = [arena.start[number] for number in numbers]
        # Arenas of several widths often have the same rows, first-order weights for example.
        key = tuple((p.data_ptr(), len(p), s) for p, s in zip(parts, starts, strict=True))
        if key not in self._distinct:
            index = torch.cat([part + start for part, start in zip(parts, starts, strict=True)])
            self._distinct[key] = (index, *arena.distinct(index))
        index, rows, inverse = self._distinct[key]
        arena.catch_up(rows)

        def give_back(grad: Tensor) -> None:
            self._lookups.setdefault(id(arena), []).append(Lookup(rows, inverse, grad))
            self._used.setdefault(id(arena), set()).update(numbers)

        values: Tensor = _ReadRows.apply(self._anchor, arena.block.weight, index, give_back)
        return values

    @torch.no_grad()
    def clip_and_step(self, max_norm: float) -> None:
        """Clip all gradients by their global norm, as FuxiCTR does, and update everything."""
        model = self.model
        self._require_no_other_reader()
        self._follow_rate()
        if self.parameters is None:
            self.parameters = list(model.parameters())
        grads = [p.grad for p in self.parameters if p.grad is not None]
        found = [
            (arena, *self._gradients(arena), sorted(self._used[id(arena)]))
            for arena in self.arenas
            if id(arena) in self._lookups
        ]
        norms = [torch.linalg.vector_norm(grad) for grad in [*grads, *(f[2] for f in found)]]
        total = torch.linalg.vector_norm(torch.stack(norms))
        factor = torch.clamp(max_norm / (total + _CLIP_EPS), max=1.0)
        torch._foreach_mul_(grads, factor)
        model.optimizer.step()
        for arena, rows, grad, used in found:
            arena.step(rows, grad.mul_(factor), used)

    def _gradients(self, arena: Arena) -> tuple[Tensor, Tensor]:
        """Distinct rows (U,) and their gradients (U, w), the mean of those of all ranks."""
        rows, grad = arena.gradients(self._lookups[id(arena)])
        if distributed.world_size() == 1:
            return rows, grad
        every_row, every_grad = distributed.gathered_rows(rows, grad)
        arena.catch_up(every_row)
        return arena.gradients([Lookup(*arena.distinct(every_row), every_grad)])

    def _follow_rate(self) -> None:
        """Rows that lag behind are owed moves at the old learning rate."""
        rate = float(self.model.optimizer.param_groups[0]["lr"])
        if rate == self._lr:
            return
        self.flush()
        rule = rule_of(self.model.optimizer)
        assert rule is not None  # the same optimizer as at the beginning
        self._lr = rate
        for arena in self.arenas:
            arena.rule = rule

    def _require_no_other_reader(self) -> None:
        tables = [table for arena in self.arenas for table in arena.tables]
        if any(table.weight.grad is not None for table in tables):
            raise ConfigError(
                f"model {type(self.model).__name__} reads the weights of an embedding table other "
                "than by look-up. Set loopfm_table_optimizer: dense."
            )

    def flush(self) -> None:
        """Bring every row of every table up to date."""
        with torch.no_grad():
            for arena in self.arenas:
                arena.flush()

    def reset(self) -> None:
        """Start over as a fresh optimizer would, from the tables as they are."""
        self.flush()
        for arena in self.arenas:
            arena.reset()


def train_step(model: Any, batch: Mapping[str, Any]) -> Tensor:
    """FuxiCTR's training step with a table optimizer; () the loss."""
    tables: TableOptimizer = model.loopfm_tables
    model.optimizer.zero_grad()
    with tables.reading():
        return_dict = model.forward(batch)
    loss: Tensor = model.compute_loss(return_dict, model.get_labels(batch))
    loss.backward()
    tables.clip_and_step(model._max_gradient_norm)
    return loss


def table_names(model: Any) -> list[str]:
    """Names of the parameters that the model's table optimizer updates; none without one."""
    owner: TableOptimizer | None = getattr(model, "loopfm_tables", None)
    tables = {id(t.weight) for arena in owner.arenas for t in arena.tables} if owner else set()
    return [name for name, parameter in model.named_parameters() if id(parameter) in tables]


def attach_tables(model: Any, choice: str, state: str = "full") -> TableOptimizer | None:
    """Give a model a table optimizer if ``choice`` says so and it can have one.

    Args:
        model: a FuxiCTR model, compiled and on its device.
        choice: of ``loopfm_table_optimizer``.
        state: of ``loopfm_table_state``; ``row`` asks for sparse steps at any size.
    """
    if choice == "dense":
        return None
    tables = _tables(model)
    size = sum(table.weight.numel() for table in tables)
    if not tables or (choice == "auto" and state == "full" and size < LEAST_WEIGHTS):
        return None
    reason = _obstacle(model)
    if reason:
        logging.info("Tables are updated densely: %s", reason)
        return None
    by_width: dict[tuple[Any, ...], list[nn.Embedding]] = {}
    for layer in _layers(model):
        own = [t for t in _embeddings(layer) if t in tables]
        for table in own:
            by_width.setdefault((id(layer), table.embedding_dim), []).append(table)
            tables.remove(table)
    rule = rule_of(model.optimizer)
    assert rule is not None  # _obstacle
    arenas = [
        Arena(group, rule, is_lazy=choice == "lazy", is_row_wise=state == "row")
        for group in by_width.values()
    ]
    owner = TableOptimizer(model, arenas)
    object.__setattr__(model, "loopfm_tables", owner)
    object.__setattr__(model, "train_step", MethodType(train_step, model))
    object.__setattr__(model, "train", MethodType(_train, model))
    model.register_state_dict_pre_hook(partial(_flush, owner))
    logging.info(
        "Tables: %s steps over %d weights, %.0f bytes a row",
        choice if choice == "lazy" else "sparse", size, arenas[0].bytes_per_row(),
    )  # fmt: skip
    return owner


def _flush(owner: TableOptimizer, *_: Any) -> None:
    owner.flush()


def _train(model: Any, mode: bool = True) -> Any:
    """``nn.Module.train``; evaluation reads whole tables."""
    model.loopfm_tables.parameters = None
    if not mode:
        model.loopfm_tables.flush()
    return type(model).train(model, mode)


def fresh_optimizer(model: Any) -> None:
    """Forget momenta and steps, as a new optimizer has none; weights stay."""
    model.optimizer.state.clear()
    tables: TableOptimizer | None = getattr(model, "loopfm_tables", None)
    if tables:
        tables.reset()


def _obstacle(model: Any) -> str | None:
    """Why a model's tables must be updated densely."""
    if model._embedding_regularizer:
        return "embedding_regularizer moves every row in every step"
    if type(model).train_step is not BaseModel.train_step:
        return f"{type(model).__name__} has a train_step of its own"
    if rule_of(model.optimizer) is None:
        return f"no sparse form of {type(model.optimizer).__name__} with these settings"
    return None


def _layers(model: nn.Module) -> list[FeatureEmbeddingDict]:
    return [module for module in model.modules() if type(module) is FeatureEmbeddingDict]


def _embeddings(layer: FeatureEmbeddingDict) -> list[nn.Embedding]:
    """Its trainable tables, each once."""
    found = [table for table in layer.embedding_layers.values() if type(table) is nn.Embedding]
    return [t for t in dict.fromkeys(found) if t.weight.requires_grad]


def _tables(model: nn.Module) -> list[nn.Embedding]:
    return list(dict.fromkeys(t for layer in _layers(model) for t in _embeddings(layer)))
