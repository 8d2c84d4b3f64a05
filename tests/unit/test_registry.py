"""Things chosen by name: which are taken in, and what their options become."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.registry import Option, Registry


class Thing:
    kind: ClassVar[str] = "plain"
    options: ClassVar[tuple[Option, ...]] = ()


WIDTH = Option("width", int, 3, at_least=1)
NAME = Option("name", str, None, key="thing_called")


def thing(kind: Any, *options: Option, name: str = "Made") -> type[Thing]:
    return type(name, (Thing,), {"kind": kind, "options": options, "__qualname__": name})


@pytest.fixture
def registry() -> Registry[Thing]:
    made: Registry[Thing] = Registry("thing", reserved=("dim",))
    made.add(Thing)
    made.add(thing("wide", WIDTH, NAME, name="Wide"))
    return made


def test_options_are_keys_and_have_defaults(registry: Registry[Thing]) -> None:
    assert list(registry) == ["plain", "wide"]
    assert registry.options() == {"thing_width": WIDTH, "thing_called": NAME}
    given = {"thing_width": 5, "other_width": 6}
    assert registry.settings("wide", given) == {"width": 5, "name": None}
    assert registry.settings_by_key("wide", given) == {"thing_width": 5, "thing_called": None}
    assert registry.settings("plain", given) == {}
    assert (WIDTH.annotation, NAME.annotation) == ("int", "str | None")


def test_entries_share_an_option_that_they_declare_alike(registry: Registry[Thing]) -> None:
    registry.add(thing("shared", WIDTH))
    with pytest.raises(ConfigError, match="thing .*Other: options: width: expected what another"):
        registry.add(thing("other", Option("width", int, 4), name="Other"))
    assert "other" not in registry


def test_a_class_may_be_defined_again_as_in_a_notebook(registry: Registry[Thing]) -> None:
    again = thing("wide", Option("width", int, 9), name="Wide")
    registry.add(again)
    assert registry["wide"] is again
    assert registry.settings("wide", {}) == {"width": 9}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (thing("wide"), "kind: expected a new name, found 'wide' of .*Wide"),
        (thing("two words"), "kind: expected a name of letters, digits and underscores"),
        (thing(3), "kind: expected a name of letters, digits and underscores, found 3"),
        (thing("x", Option("dim", int, 1)), "options: expected a new name, found 'dim'"),
        (thing("x", Option("a-b", int, 1)), "options: expected a new name, found 'a-b'"),
        (thing("x", Option("a", list, 1)), "options: a: expected a type of bool, int, float, str"),
    ],
)
def test_what_does_not_fit_is_refused(
    registry: Registry[Thing], entry: type[Thing], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        registry.add(entry)
    assert list(registry) == ["plain", "wide"]


def test_an_unknown_kind_lists_the_known_ones(registry: Registry[Thing]) -> None:
    with pytest.raises(ConfigError, match="thing: expected one of plain, wide, found 'narrow'"):
        registry.require("narrow")


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        (Option("a", int, 1, at_least=1), 0, "expected at least 1, found 0"),
        (Option("a", float, 1.0, at_least=0), -0.5, "expected 0 or more, found -0.5"),
        (Option("a", float, 1.0, more_than=0), 0.0, "expected more than 0, found 0.0"),
        (Option("a", float, 0.0, less_than=1), 1.0, "expected less than 1, found 1.0"),
        (Option("a", int, None, at_least=1), None, None),
        (Option("a", float, 0.0, at_least=0, less_than=1), 0.5, None),
    ],
)
def test_bounds(option: Option, value: Any, problem: str | None) -> None:
    assert option.problem(value) == problem
