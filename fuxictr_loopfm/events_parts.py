"""The parts of a data set's description: feature columns, ready-made histories and periods."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from fuxictr_loopfm.errors import ConfigError

VIEWS = ("teacher", "vertical")
INDEX_COLUMNS = ("event_id", "timestamp", "period")
MAX_HISTORY = 65_535
_DTYPES = {"categorical": ("str", "int"), "numeric": ("float",)}
T = TypeVar("T")
_NAME = re.compile(r"[^./\s][^./]*")
# The host keeps one module per feature in a torch ModuleDict, which refuses its own attributes.
_MODULE_ATTRIBUTES = re.compile(
    r"""
    T_destination|add_module|apply|bfloat16|buffers|call_super_init|children|clear|compile|cpu|
    cuda|double|dump_patches|eval|extra_repr|float|forward|get_buffer|get_extra_state|
    get_parameter|get_submodule|half|ipu|items|keys|load_state_dict|modules|mtia|named_buffers|
    named_children|named_modules|named_parameters|parameters|pop|register_backward_hook|
    register_buffer|register_forward_hook|register_forward_pre_hook|register_full_backward_hook|
    register_full_backward_pre_hook|register_load_state_dict_post_hook|
    register_load_state_dict_pre_hook|register_module|register_parameter|
    register_state_dict_post_hook|register_state_dict_pre_hook|requires_grad_|set_extra_state|
    set_submodule|share_memory|state_dict|to|to_empty|train|training|type|update|values|xpu|
    zero_grad
    """,
    re.VERBOSE,
)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the nearest known name, or an empty text."""
    close = difflib.get_close_matches(str(name), [str(item) for item in known], n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


@dataclass(frozen=True)
class Column:
    """One feature column.

    Attributes:
        name: column in ``events.parquet``.
        type: ``categorical`` (stored as text, missing is ``""``) or ``numeric`` (float32).
        dtype: ``str`` or ``int`` for categorical columns, ``float`` for numeric ones.
        views: who may see it: ``("teacher", "vertical")`` or ``("teacher",)``.
    """

    name: str
    type: str = "categorical"
    dtype: str = "str"
    views: tuple[str, ...] = VIEWS

    def problems(self) -> list[str]:
        """Everything wrong with this column by itself."""
        where = f"columns: {self.name!r}"
        found = name_problems(where, self.name, module=True)
        if self.type not in _DTYPES:
            found.append(f"{where}: type: expected one of {list(_DTYPES)}, found {self.type!r}")
        elif self.dtype not in _DTYPES[self.type]:
            expected = " or ".join(_DTYPES[self.type])
            found.append(
                f"{where}: dtype: expected {expected} for {self.type}, found {self.dtype!r}"
            )
        if tuple(self.views) not in (VIEWS, VIEWS[:1]):
            found.append(
                f"{where}: views: expected [teacher, vertical] or [teacher], "
                f"found {list(self.views)}"
            )
        return found


@dataclass(frozen=True)
class SequenceColumn:
    """A ready-made history feature: the newest ``max_len`` tokens strictly before each event.

    Attributes:
        name: group in ``sequences.h5``.
        of: the categorical column whose vocabulary the tokens share.
        max_len: most tokens per event.
        views: who may see it.
    """

    name: str
    of: str
    max_len: int
    views: tuple[str, ...] = VIEWS[:1]

    def problems(self) -> list[str]:
        """Everything wrong with this sequence by itself."""
        where = f"sequences: {self.name!r}"
        found = name_problems(where, self.name, module=True)
        if not is_integer(self.max_len) or not 1 <= self.max_len <= MAX_HISTORY:
            found.append(f"{where}: max_len: expected 1 to {MAX_HISTORY}, found {self.max_len!r}")
        if not self.views or not set(self.views) <= set(VIEWS):
            found.append(f"{where}: views: expected some of {list(VIEWS)}, found {self.views!r}")
        return found


@dataclass(frozen=True)
class Periods:
    """Which periods (1-based, in time order) train and test what.

    Attributes:
        count: number of periods P.
        teacher_train: periods the teacher is trained on.
        log: periods whose impressions the frozen teacher logs.
        vertical_train: logged periods that train the vertical model.
        test: logged periods that are only evaluated.
    """

    count: int
    teacher_train: tuple[int, ...]
    log: tuple[int, ...]
    vertical_train: tuple[int, ...]
    test: tuple[int, ...]

    @classmethod
    def split(cls, count: int, teacher: int) -> Periods:
        """The first ``teacher`` periods train the teacher, the last one is the test."""
        return cls(
            count=count,
            teacher_train=tuple(range(1, teacher + 1)),
            log=tuple(range(teacher + 1, count + 1)),
            vertical_train=tuple(range(teacher + 1, count)),
            test=(count,),
        )

    def problems(self) -> list[str]:
        """Everything wrong with the split."""
        if not is_integer(self.count) or self.count < 3:
            expected = "at least 3 (teacher, vertical model, test)"
            return [f"periods: count: expected {expected}, found {self.count!r}"]
        found = []
        for role in ("teacher_train", "log", "vertical_train", "test"):
            value = getattr(self, role)
            if not _is_run(value, self.count):
                found.append(
                    f"periods: {role}: expected consecutive periods within 1 to {self.count}, "
                    f"found {list(value)}"
                )
        if found:
            return found
        if self.teacher_train[-1] >= self.vertical_train[0]:
            found.append("periods: teacher_train must end before vertical_train begins")
        if self.vertical_train[-1] >= self.test[0]:
            found.append("periods: vertical_train must end before test begins")
        if not set(self.vertical_train) | set(self.test) <= set(self.log):
            found.append("periods: log must hold every period of vertical_train and test")
        return found


def is_integer(value: object) -> bool:
    """Whether ``value`` is an int and no bool (YAML reads ``yes`` as a bool)."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_run(value: tuple[int, ...], count: int) -> bool:
    return (
        bool(value)
        and all(is_integer(item) for item in value)
        and tuple(value) == tuple(range(value[0], value[0] + len(value)))
        and value[0] >= 1
        and value[-1] <= count
    )


def name_problems(where: str, name: object, *, module: bool = False) -> list[str]:
    """Why ``name`` cannot name a column (or, with ``module``, a model's feature)."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return [f"{where}: expected a name without '.' and '/', found {name!r}; rename the column"]
    if name in INDEX_COLUMNS:
        return [f"{where}: {name!r} is reserved for the event index; rename the column"]
    if module and _MODULE_ATTRIBUTES.fullmatch(name):
        return [f"{where}: PyTorch reserves {name!r}, no model can embed it; rename the column"]
    return []


def parse_part(part: type[T], value: Any, where: str, problems: list[str]) -> T | None:
    """Build a dataclass from a mapping; add to ``problems`` what is wrong instead of raising."""
    if not isinstance(value, Mapping):
        problems.append(f"{where}: expected a mapping, found {value!r}")
        return None
    known = {item.name: item for item in fields(part)}  # type: ignore[arg-type]
    required = [
        name
        for name, item in known.items()
        if item.default is MISSING and item.default_factory is MISSING
    ]
    found = [
        f"{where}: unknown key {key!r}{did_you_mean(key, known)}"
        for key in value
        if key not in known
    ]
    found += [f"{where}: missing key {key!r}" for key in required if key not in value]
    problems.extend(found)
    if found:
        return None
    try:
        return part(
            **{key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
        )
    except ConfigError as error:
        problems.extend(error.problems)
    return None


def parse_parts(part: type[T], value: Any, where: str, problems: list[str]) -> tuple[T, ...]:
    """Build one dataclass per entry of a list, like :func:`parse_part`."""
    if not isinstance(value, (list, tuple)):
        problems.append(f"{where}: expected a list, found {value!r}")
        return ()
    built = [parse_part(part, item, f"{where}[{i}]", problems) for i, item in enumerate(value)]
    return tuple(item for item in built if item is not None)
