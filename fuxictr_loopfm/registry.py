"""What a configuration chooses by name: the classes of one kind, and the options each brings.

``loopfm_encoder: dmin`` chooses an entry of the registry ``encoder``, and ``loopfm_encoder_heads``
sets one of its options. A class declares both itself, so that a new one is a file and a line::

    @register_encoder
    class Gru(SequenceEncoder):
        kind = "gru"
        options = (Option("hidden", int, 16, at_least=1),)  # the key loopfm_encoder_hidden
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from fuxictr_loopfm.errors import ConfigError

TYPES = (bool, int, float, str)


@dataclass(frozen=True)
class Option:
    """One setting of an entry; several entries of a registry may share one.

    Attributes:
        name: what the entry calls it, a Python name.
        type: bool, int, float or str.
        default: its value where a configuration does not say; None makes null a value.
        at_least, more_than, less_than: bounds of a number.
        key: the configuration key without ``loopfm_``, if it is not registry, underscore, name.
    """

    name: str
    type: type
    default: Any
    at_least: float | None = None
    more_than: float | None = None
    less_than: float | None = None
    key: str | None = None

    @property
    def annotation(self) -> str:
        """Its type as a dataclass field would have it, for example ``str | None``."""
        return self.type.__name__ + (" | None" if self.default is None else "")

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value of the right type, or None."""
        if value is None:
            return None
        if self.at_least is not None and value < self.at_least:
            least = f"at least {self.at_least:g}" if self.at_least else "0 or more"
            return f"expected {least}, found {value}"
        if self.more_than is not None and value <= self.more_than:
            return f"expected more than {self.more_than:g}, found {value}"
        if self.less_than is not None and value >= self.less_than:
            return f"expected less than {self.less_than:g}, found {value}"
        return None


class Entry(Protocol):
    """What every class of a registry says of itself.

    Attributes:
        kind: its name in configurations.
        options: what a configuration can set of it.
    """

    kind: ClassVar[str]
    options: ClassVar[tuple[Option, ...]]


EntryT = TypeVar("EntryT", bound=Entry)


class Registry(Mapping[str, type[EntryT]], Generic[EntryT]):
    """Classes by ``kind``, in the order they were added.

    Args:
        key: the configuration key, without ``loopfm_``, that names an entry.
        reserved: names that no option may have, because other keys are called so.
    """

    def __init__(self, key: str, reserved: tuple[str, ...] = ()) -> None:
        self.key = key
        self._reserved = reserved
        self._entries: dict[str, type[EntryT]] = {}

    def add(self, entry: type[EntryT]) -> None:
        """Make a class known under its ``kind``.

        A class of the same module and name takes the place of the former one, so that a cell of a
        notebook can run again.

        Raises:
            ConfigError: the kind is no name or taken, or an option is declared otherwise already.
        """
        problems = [*self._name_problems(entry), *self._option_problems(entry)]
        if problems:
            where = f"{self.key} {_full_name(entry)}"
            raise ConfigError([f"{where}: {problem}" for problem in problems])
        self._entries[entry.kind] = entry

    def __getitem__(self, kind: str) -> type[EntryT]:
        return self._entries[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def require(self, kind: str) -> type[EntryT]:
        """The class of that kind.

        Raises:
            ConfigError: there is none.
        """
        if kind not in self:
            raise ConfigError(f"{self.key}: expected one of {', '.join(self)}, found {kind!r}")
        return self[kind]

    def key_of(self, option: Option) -> str:
        """The configuration key of an option, without ``loopfm_``."""
        return option.key or f"{self.key}_{option.name}"

    def options(self) -> dict[str, Option]:
        """The options of all entries by configuration key."""
        return {self.key_of(option): option for entry in self.values() for option in entry.options}

    def settings(self, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The options of one entry by name, defaults included.

        Args:
            kind: of the entry.
            values: by configuration key, of any registry.
        """
        return {
            option.name: values.get(self.key_of(option), option.default)
            for option in self.require(kind).options
        }

    def settings_by_key(self, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same by configuration key: what tells two uses of the entry apart."""
        return {
            self.key_of(option): values.get(self.key_of(option), option.default)
            for option in self.require(kind).options
        }

    def _name_problems(self, entry: type[EntryT]) -> Iterator[str]:
        kind = getattr(entry, "kind", None)
        if not isinstance(kind, str) or not kind or not kind.isidentifier():
            yield f"kind: expected a name of letters, digits and underscores, found {kind!r}"
        elif kind in self and _full_name(self[kind]) != _full_name(entry):
            yield f"kind: expected a new name, found {kind!r} of {_full_name(self[kind])}"

    def _option_problems(self, entry: type[EntryT]) -> Iterator[str]:
        others = [other for other in self.values() if _full_name(other) != _full_name(entry)]
        known = {self.key_of(option): option for other in others for option in other.options}
        for option in entry.options:
            key = self.key_of(option)
            if not option.name.isidentifier() or option.name in self._reserved:
                yield f"options: expected a new name, found {option.name!r}"
            if option.type not in TYPES:
                yield f"options: {option.name}: expected a type of bool, int, float, str"
            if known.get(key, option) != option:
                yield (
                    f"options: {option.name}: expected what another {self.key} declares for "
                    f"loopfm_{key}, {known[key]}, found {option}. Choose another name."
                )


def _full_name(entry: type) -> str:
    return f"{entry.__module__}.{entry.__qualname__}"
