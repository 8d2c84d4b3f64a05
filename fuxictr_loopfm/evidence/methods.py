"""The methods that are compared: what each is made of, what it needs at serving, and its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BASE = "base"
TEACHER = "teacher"
# What a method needs at serving, from the cheapest on; boards are grouped by it.
GROUPS: dict[str, str] = {
    "nothing": "Needs nothing at serving",
    "raw": "Needs the user's raw history at serving",
    "store": "Needs a store of the teacher's past outputs at serving",
    "oracle": "Needs the teacher itself at serving (oracle)",
}


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        group: a key of ``GROUPS``.
        keys: the ``loopfm_*`` keys that make it.
        reads_lists: it also reads the ready-made sequences that the data set gives to the teacher.
        on_demand: it is run only when it is asked for by name.
    """

    group: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    reads_lists: bool = False
    on_demand: bool = False


def _raw(**keys: Any) -> Method:
    """A method with the user's raw history: everything raw that the teacher's features had."""
    return Method("raw", {f"loopfm_{name}": value for name, value in keys.items()}, True)


def _store(*, lists: bool = False, **keys: Any) -> Method:
    """A method with a history of the teacher's embeddings."""
    return Method("store", {f"loopfm_{name}": value for name, value in keys.items()}, lists)


def _on_demand(group: str, *, lists: bool = False, **keys: Any) -> Method:
    return Method(group, {f"loopfm_{name}": value for name, value in keys.items()}, lists, True)


# In the order in which tables list the methods.
METHODS: dict[str, Method] = {
    BASE: Method("nothing"),
    "KD": Method("nothing", {"loopfm_kd": "aux_head"}),
    "base-all": _on_demand("nothing", train_on="all"),
    "FitNets": _on_demand("nothing", hint="fitnets"),
    "CRD-InfoNCE": _on_demand("nothing", hint="crd"),
    "PFD": _on_demand("nothing", kd="privileged"),
    "raw": _raw(history="ids"),
    "raw+label": _raw(history="ids+label"),
    "KD+raw": _raw(kd="aux_head", history="ids"),
    "KD+raw+label": _raw(kd="aux_head", history="ids+label"),
    "raw-1": _on_demand("raw", lists=True, history="ids", max_len=1),
    "raw-all": _on_demand("raw", lists=True, history="ids", train_on="all"),
    "LoopFM": _store(history="embedding"),
    "LoopFM+label": _store(history="embedding+label"),
    "KD+LoopFM": _store(kd="aux_head", history="embedding"),
    "KD+LoopFM+label": _store(kd="aux_head", history="embedding+label"),
    "KD+LoopFM+raw": _store(lists=True, kd="aux_head", history="embedding+ids"),
    "KD+LoopFM+raw+label": _store(lists=True, kd="aux_head", history="embedding+ids+label"),
    "LoopFM-1": _on_demand("store", history="embedding", max_len=1),
    "entity-only": _on_demand("store", current="embedding", taps="user_only"),
    "current soft label": _on_demand("oracle", current="soft_label"),
    "current embedding": _on_demand("oracle", current="embedding"),
    # No vertical model: what the teacher itself logged for the test.
    TEACHER: Method("oracle"),
}
DEFAULT_METHODS = tuple(name for name, method in METHODS.items() if not method.on_demand)
# Methods that are a vertical model's, and so have an expid.
VERTICAL_METHODS = tuple(name for name in METHODS if name != TEACHER)
# Names in records of earlier releases, whose raw histories began with the logged periods.
FORMER_METHODS: dict[str, Method] = {
    "raw_seq": Method("raw", {"loopfm_history": "ids"}),
    "raw_seq+label": Method("raw", {"loopfm_history": "ids+label"}),
}


def group_of(method: str) -> str | None:
    """The group of a method by its name, None for one that no table of methods knows."""
    found = METHODS.get(method) or FORMER_METHODS.get(method)
    return found.group if found else None


def method_slug(method: str) -> str:
    """``KD+LoopFM+label`` as ``kd_loopfm_label``, the end of an expid."""
    return method.lower().replace("+", "_").replace("-", "_").replace(" ", "_")
