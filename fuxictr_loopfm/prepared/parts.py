"""The parts of a data set's description: feature columns, ready-made histories and periods."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from fuxictr_loopfm.errors import ConfigError, did_you_mean

VIEWS = ("teacher", "vertical")
INDEX_COLUMNS = ("event_id", "timestamp", "period")
# Columns and fields that are added to a batch or to an encoded view under these names.
ADDED_NAMES = ("group_id", "teacher_logit", "teacher_embedding")
ADDED_PREFIX = "loopfm_"
MAX_HISTORY = 65_535
# More than the days of 270 years; a larger number would only reserve memory.
MAX_PERIODS = 100_000
_DTYPES = {"categorical": ("str", "int"), "numeric": ("float",)}
T = TypeVar("T")
# Names reach h5 paths, FuxiCTR's configurations and polars, which reads "*" and "^.*$" as patterns.
_NAME = re.compile(r"\w[\w -]{0,199}")
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
    zero_grad|
    __\w+__|_apply|_buffers|_call_impl|_compiled_call_impl|_forward_hooks_always_called|
    _get_backward_hooks|_get_backward_pre_hooks|_get_name|_is_full_backward_hook|
    _load_from_state_dict|_maybe_warn_non_full_backward_hook|_modules|_named_members|
    _non_persistent_buffers_set|_parameters|_register_load_state_dict_pre_hook|
    _register_state_dict_hook|_replicate_for_data_parallel|_save_to_state_dict|_slow_forward|
    _version|_wrapped_call_impl|_\w+_hooks|_\w+_hooks_with_kwargs
    """,
    re.VERBOSE,
)


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
        of: the categorical column whose vocabulary the tokens share; None: they have their own.
        max_len: most tokens per event.
        views: who may see it.
    """

    name: str
    of: str | None
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
        if not is_integer(self.count) or not 3 <= self.count <= MAX_PERIODS:
            expected = f"at least 3 (teacher, vertical model, test), at most {MAX_PERIODS}"
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
            found.append(
                "periods: teacher_train: expected to end before vertical_train begins, found "
                f"{list(self.teacher_train)} and {list(self.vertical_train)}; a teacher must not "
                "have learned what it logs for training. Prepare the data set again"
            )
        if self.vertical_train[-1] >= self.test[0]:
            found.append(
                "periods: vertical_train: expected to end before test begins, found "
                f"{list(self.vertical_train)} and {list(self.test)}. Prepare the data set again"
            )
        if not set(self.vertical_train) | set(self.test) <= set(self.log):
            found.append(
                "periods: log: expected every period of vertical_train and test, found "
                f"{list(self.log)}. Prepare the data set again"
            )
        return found


def is_integer(value: object) -> bool:
    """Whether ``value`` is an int and no bool (YAML reads ``yes`` as a bool)."""
    return isinstance(value, int) and not isinstance(value, bool)


def short(value: object) -> str:
    """``repr`` for a message, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _is_list_of(kind: type) -> Callable[[object], bool]:
    def fits(value: object) -> bool:
        return isinstance(value, (list, tuple)) and all(type(item) is kind for item in value)

    return fits


def _is_text_mapping(value: object) -> bool:
    texts = isinstance(value, Mapping) and [*value.keys(), *value.values()]
    return texts is not False and all(isinstance(text, str) for text in texts)


# By the annotation of a field: what it takes, and whether a value is such a thing. Fields with
# other annotations are checked by their own class.
_KINDS: dict[Any, tuple[str, Callable[[object], bool]]] = {
    "str": ("text", lambda value: isinstance(value, str)),
    "tuple[str, ...]": ("a list of names", _is_list_of(str)),
    "tuple[int, ...]": ("a list of whole numbers", _is_list_of(int)),
    "Mapping[str, str]": ("a mapping of texts", _is_text_mapping),
    "dict[str, str]": ("a mapping of texts", _is_text_mapping),
}
_ANYTHING: tuple[str, Callable[[object], bool]] = ("anything", lambda value: True)


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
    found = character_problems(where, name)
    if found or not isinstance(name, str):
        return found
    if name in INDEX_COLUMNS:
        return [f"{where}: {name!r} is reserved for the event index; rename the column"]
    if name in ADDED_NAMES or name.startswith(ADDED_PREFIX):
        added = f"{', '.join(ADDED_NAMES)} and {ADDED_PREFIX}... are names of what is added to it"
        return [
            f"{where}: {name!r} cannot name a column of a data set ({added}); rename the column"
        ]
    if module and _MODULE_ATTRIBUTES.fullmatch(name):
        return [f"{where}: PyTorch reserves {name!r}, no model can embed it; rename the column"]
    return []


def character_problems(where: str, name: object) -> list[str]:
    """Why ``name`` has characters that something downstream takes for more than a name."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return []
    return [
        f"{where}: expected a name of letters, digits, '_', '-' and blanks, found {short(name)}; "
        "rename the column"
    ]


def parse_part(part: type[T], value: Any, where: str, problems: list[str]) -> T | None:
    """Build a dataclass from a mapping; add to ``problems`` what is wrong instead of raising."""
    if not isinstance(value, Mapping):
        problems.append(f"{where}: expected a mapping, found {short(value)}")
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
    found += [
        f"{where}: {key}: expected {_KINDS[known[key].type][0]}, found {short(item)}"
        for key, item in value.items()
        if key in known and not _KINDS.get(known[key].type, _ANYTHING)[1](item)
    ]
    problems.extend(found)
    if problems:  # of a part, or of one of its own parts
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
        problems.append(f"{where}: expected a list, found {short(value)}")
        return ()
    built = [parse_part(part, item, f"{where}[{i}]", problems) for i, item in enumerate(value)]
    return tuple(item for item in built if item is not None)
