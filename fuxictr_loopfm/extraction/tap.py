"""Reads activations of a teacher during its forward passes: which, and how.

A tap is a module path of the teacher ("dnn.mlp.0") or one of the paper's names. Modules are
recognised by class name and structure, so any FuxiCTR model can be a teacher.

    emb          output of the largest embedding layer, all fields side by side
    hidden_<i>   hidden layer i of the trunk, after its activation and before its dropout
    deep         the last hidden layer
    all          every hidden layer
    soft_label   the predicted probability
    item_only    as emb, restricted to the item's fields
    user_only    as emb, restricted to the user's fields (the entity-only comparator)

Paper: arXiv:2605.29280, Table 5; reading after the activation is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fuxictr_loopfm.errors import ConfigError, DataError, did_you_mean
from fuxictr_loopfm.extraction.model_parts import (
    embedding_layers,
    embedding_path,
    hidden_paths,
)

if TYPE_CHECKING:
    from typing_extensions import Self

EMB = "emb"
DEEP = "deep"
ALL = "all"
SOFT_LABEL = "soft_label"
ITEM_ONLY = "item_only"
USER_ONLY = "user_only"
HIDDEN = "hidden_"

# A message that lists the modules of a deep model must still be read.
_MOST_PATHS_LISTED = 60


@dataclass(frozen=True)
class Tap:
    """One place of a teacher that is read.

    Attributes:
        name: what the user called it (``all`` becomes ``hidden_0``, ``hidden_1``, ...).
        path: dotted path of the module whose output is read; "" for the teacher's prediction.
        fields: for embedding layers, the fields to keep, in this order; empty keeps all.
    """

    name: str
    path: str
    fields: tuple[str, ...] = ()


def resolve_taps(
    model: nn.Module,
    names: Sequence[str],
    item_fields: Sequence[str] = (),
    user_fields: Sequence[str] = (),
) -> list[Tap]:
    """Find the modules behind tap names.

    Args:
        model: the teacher.
        names: module paths or the names listed above, in the order of the concatenation.
        item_fields: the fields that ``item_only`` keeps.
        user_fields: the fields that ``user_only`` keeps.

    Returns:
        The taps in the order of ``names``; ``all`` becomes one per hidden layer.

    Raises:
        ConfigError: nothing to read, an unknown name (the message lists what exists), the same
            activation twice, or ``item_only`` or ``user_only`` without usable fields.
    """
    if not names:
        raise ConfigError("loopfm_taps: expected at least one name, found none")
    hidden = hidden_paths(model)
    taps: list[Tap] = []
    problems: list[str] = []
    for name in names:
        if name == ALL and hidden:
            taps += [Tap(f"{HIDDEN}{i}", path) for i, path in enumerate(hidden)]
            continue
        try:
            entity_fields = {ITEM_ONLY: item_fields, USER_ONLY: user_fields}
            taps.append(_resolve(model, name, hidden, entity_fields))
        except ConfigError as error:
            problems += error.problems
    for index, tap in enumerate(taps):
        earlier = [t.name for t in taps[:index] if (t.path, t.fields) == (tap.path, tap.fields)]
        if earlier:
            problems.append(
                f"loopfm_taps: {tap.name}: expected another activation than {earlier[0]} reads, "
                "found the same. Name each layer once."
            )
    if problems:
        raise ConfigError(problems)
    return taps


def _resolve(
    model: nn.Module, name: str, hidden: Sequence[str], entity_fields: Mapping[str, Sequence[str]]
) -> Tap:
    embedding = embedding_path(model)
    if name == SOFT_LABEL:
        return Tap(name, "")
    if name == EMB and embedding is not None:
        return Tap(name, embedding)
    if name in entity_fields and embedding is not None:
        return Tap(name, embedding, _checked_fields(model, embedding, name, entity_fields[name]))
    if name == DEEP and hidden:
        return Tap(name, hidden[-1])
    if name.startswith(HIDDEN) and name.removeprefix(HIDDEN) in map(str, range(len(hidden))):
        return Tap(name, hidden[int(name.removeprefix(HIDDEN))])
    if name and name in dict(model.named_modules()):
        return Tap(name, name)
    raise ConfigError(_unknown(model, name, hidden, embedding is not None))


def _unknown(model: nn.Module, name: str, hidden: Sequence[str], has_embedding: bool) -> str:
    names = [SOFT_LABEL]
    names += [EMB, ITEM_ONLY, USER_ONLY] if has_embedding else []
    names += [f"{HIDDEN}{i}" for i in range(len(hidden))]
    names += [DEEP, ALL] if hidden else []
    tables = tuple(f"{path}." for path, _ in embedding_layers(model))
    paths = [path for path, _ in model.named_modules() if path and not path.startswith(tables)]
    hint = did_you_mean(name, [*names, *paths])
    unlisted = len(paths) - _MOST_PATHS_LISTED
    more = f", and {unlisted} more" if unlisted > 0 else ""
    more += ". Choose among these."
    return (
        f"loopfm_taps: {type(model).__name__} has no {name!r}{hint}; "
        f"names: {', '.join(names)}; module paths: {', '.join(paths[:_MOST_PATHS_LISTED])}{more}"
    )


def _checked_fields(
    model: nn.Module, path: str, name: str, fields: Sequence[str]
) -> tuple[str, ...]:
    known = list(getattr(model.get_submodule(path), "embedding_layers", {}))
    if not fields:
        raise ConfigError(
            f"loopfm_taps: {name} needs the fields to keep; choose among {', '.join(known)}"
        )
    unknown = [field for field in fields if field not in known]
    if unknown:
        raise ConfigError(
            f"loopfm_taps: {name}: the teacher does not embed {', '.join(unknown)}; "
            f"it embeds {', '.join(known)}"
        )
    return tuple(fields)


class TapRecorder:
    """Context manager: while entered, every forward pass of ``model`` leaves its taps here.

    Draws no random numbers and changes no activation, so a teacher trained under it ends with the
    weights it would have without it. The model's ``forward`` is wrapped on the instance because
    FuxiCTR calls ``model.forward(batch)``, which skips hooks registered on the model itself.
    """

    def __init__(self, model: nn.Module, taps: Sequence[Tap]) -> None:
        self.model = model
        self.taps = tuple(taps)
        self._modules = {tap.path: model.get_submodule(tap.path) for tap in taps if tap.path}
        self._handles: list[RemovableHandle] = []
        self._replaced_forward: Any = None
        self._forget()

    def __enter__(self) -> Self:
        if self._handles or self._replaced_forward is not None:
            raise RuntimeError("this TapRecorder is already recording")
        for path, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(path)))
        self._replaced_forward = self.model.forward
        self._had_own_forward = "forward" in vars(self.model)
        vars(self.model)["forward"] = self._recording_forward
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self._had_own_forward:
            vars(self.model)["forward"] = self._replaced_forward
        else:
            del vars(self.model)["forward"]
        self._replaced_forward = None
        self._forget()

    def read(self) -> Tensor:
        """(B, D) float32, detached: the taps of the last forward pass, side by side.

        Raises:
            DataError: no pass yet, a tap that the pass did not reach or reached twice, an output
                of the wrong type or number of rows, or NaN or infinite values; names the tap.
        """
        if not self._complete:
            raise DataError("taps: no forward pass was recorded; run the teacher first")
        parts = [self._part(tap) for tap in self.taps]
        for tap, part in zip(self.taps, parts, strict=True):
            if part.shape[0] != parts[0].shape[0]:
                raise DataError(
                    f"tap {tap.name}: expected {parts[0].shape[0]} rows like "
                    f"{self.taps[0].name}, found {part.shape[0]}"
                )
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _forget(self) -> None:
        self._seen: dict[str, Any] = {}
        self._calls: dict[str, int] = {}
        self._complete = False

    def _recording_forward(self, *args: Any, **kwargs: Any) -> Any:
        self._forget()
        output = self._replaced_forward(*args, **kwargs)
        if isinstance(output, dict) and isinstance(output.get("y_pred"), Tensor):
            self._seen[""] = output["y_pred"].detach()
        self._complete = True
        return output

    def _hook(self, path: str) -> Callable[..., None]:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, dict):
                # Models look up some fields in separate calls, and edit the dictionary afterwards.
                fields = self._seen.setdefault(path, {})
                fields.update({name: _pooled(value) for name, value in output.items()})
                return
            self._calls[path] = self._calls.get(path, 0) + 1
            # A later in-place operation must not change what was read.
            self._seen[path] = output.detach().clone() if isinstance(output, Tensor) else output

        return record

    def _part(self, tap: Tap) -> Tensor:
        """(B, D_tap) float32 of one tap."""
        seen = self._seen.get(tap.path)
        if seen is None:
            place = f"module {tap.path}" if tap.path else "y_pred in the model's output"
            raise DataError(f"tap {tap.name}: the last forward pass did not produce {place}")
        if self._calls.get(tap.path, 0) > 1:
            raise DataError(
                f"tap {tap.name}: module {tap.path} ran {self._calls[tap.path]} times in one "
                "forward pass; tap a module that runs once"
            )
        if isinstance(seen, dict):
            seen = self._joined(tap, seen)
        if not isinstance(seen, Tensor) or seen.ndim == 0:
            raise DataError(
                f"tap {tap.name}: expected a tensor (B, ...) from {tap.path}, "
                f"found {type(seen).__name__}"
            )
        part = seen.reshape(seen.shape[0], -1).float()
        # The sum is a cheap first look: it is finite only if every value is.
        if not bool(torch.isfinite(part.sum())) and not bool(torch.isfinite(part).all()):
            bad = int((~torch.isfinite(part)).sum())
            raise DataError(
                f"tap {tap.name}: expected finite activations, found {bad} NaN or infinite of "
                f"{part.numel()}; has the teacher diverged?"
            )
        return part

    def _joined(self, tap: Tap, seen: dict[str, Tensor]) -> Tensor:
        """Fields side by side, in the layer's own order: the batch's order is no contract."""
        declared = getattr(self._modules[tap.path], "embedding_layers", seen)
        fields = tap.fields or tuple(field for field in declared if field in seen)
        missing = [field for field in fields if field not in seen]
        if missing or not fields:
            raise DataError(
                f"tap {tap.name}: fields {', '.join(missing) or '(none)'} were not in the batch; "
                f"found {', '.join(seen)}"
            )
        rows = seen[fields[0]].shape[0]
        for field in fields:
            if seen[field].shape[0] != rows:
                raise DataError(
                    f"tap {tap.name}: field {field}: expected {rows} rows like {fields[0]}, "
                    f"found {seen[field].shape[0]}"
                )
        return torch.cat([seen[field] for field in fields], dim=1)


def _pooled(value: Tensor) -> Tensor:
    """(B, e) as it is; a sequence (B, L, e) as the mean over its steps that are not all zero."""
    value = value.detach()
    if value.ndim != 3:
        return value.reshape(value.shape[0], -1)
    # Padding steps are zero rows of the table, so they do not change the sum.
    steps = (value != 0).any(dim=-1).sum(dim=1, keepdim=True)
    return value.sum(dim=1) / steps.clamp(min=1)
