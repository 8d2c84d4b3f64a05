"""Transfer losses by the names used in configurations, for ``loopfm_kd`` and ``loopfm_hint``."""

from __future__ import annotations

from typing import Any, TypeVar

from fuxictr_loopfm.distillation.term import LossTerm, TransferSpec
from fuxictr_loopfm.distillation.terms import (
    AdaptedHeadLoss,
    AuxiliaryHeadLoss,
    ContrastiveHint,
    PrivilegedHead,
    RegressionHint,
    SingleHeadLoss,
)
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.registry import Registry

TermT = TypeVar("TermT", bound=LossTerm)

# By configuration key. A model may train with one loss of each.
TRANSFERS: dict[str, Registry[LossTerm]] = {
    # loopfm_kd_trunk says where the trunk is, for every loss.
    "kd": Registry("kd", reserved=("trunk",)),
    "hint": Registry("hint"),
}


def register_transfer(term: type[TermT]) -> type[TermT]:
    """Make a loss known by its ``key`` and ``kind``; also a decorator of its class.

    Raises:
        ConfigError: another key than ``kd`` and ``hint``, or see ``Registry.add``.
    """
    if term.key not in TRANSFERS:
        raise ConfigError(
            f"{term.__module__}.{term.__qualname__}: key: expected one of {', '.join(TRANSFERS)}, "
            f"found {term.key!r}"
        )
    TRANSFERS[term.key].add(term)
    return term


_OURS: tuple[type[LossTerm], ...] = (
    AuxiliaryHeadLoss,
    SingleHeadLoss,
    AdaptedHeadLoss,
    PrivilegedHead,
    RegressionHint,
    ContrastiveHint,
)
for _term in _OURS:
    register_transfer(_term)


def transfer_class(spec: TransferSpec) -> type[LossTerm]:
    """The class of a loss.

    Raises:
        ConfigError: an unknown kind.
    """
    return TRANSFERS[spec.key].require(spec.kind)


def transfer_options(spec: TransferSpec) -> dict[str, Any]:
    """All options of a loss by name, defaults included."""
    return {**TRANSFERS[spec.key].settings(spec.kind, {}), **spec.options}
