"""Params against the arguments of the model they are given to: misspelt ones, and wrong kinds.

FuxiCTR's models take ``**kwargs`` and drop what they do not know, so that a misspelt
``hidden_unit`` trains the default network without a word.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fuxictr_loopfm.config.names import PREFIX
from fuxictr_loopfm.config.param_rules import READ
from fuxictr_loopfm.files.scalars import meant_bool, meant_number, meant_text
from fuxictr_loopfm.prepared.parts import is_integer, short

# How alike two names are of which one is the other misspelt. Both are strict: FuxiCTR's own
# configurations carry params that nobody reads and that are rather like others. The second is for
# a name whose right one is there as well, which may be another model's in a shared block.
_MISSPELT, _SURELY_MISSPELT = 0.9, 0.95


def argument_problems(model_class: type[nn.Module], params: Mapping[str, Any]) -> list[str]:
    """Params that are misspelt, or whose value the model cannot mean.

    A param that nobody reads is misspelt if one that somebody reads is alike. Others that nobody
    reads are in FuxiCTR's own configurations, too; of these the log says so.

    Args:
        model_class: the model of the expid.
        params: its resolved params.
    """
    defaults = _defaults(model_class)
    known = {*defaults, *_looked_up(model_class), *READ} - {"self", "args", "kwargs"}
    problems = []
    for name, value in params.items():
        if str(name).startswith(PREFIX):
            continue
        if name in known:
            problem = _problem_beside(defaults.get(name), value)
            problems += [f"{name}: {problem}"] if problem else []
            continue
        near = difflib.get_close_matches(name, known - set(params), n=1, cutoff=_MISSPELT)
        near = near or difflib.get_close_matches(name, known, n=1, cutoff=_SURELY_MISSPELT)
        text = f"{name}: neither model {model_class.__name__} nor FuxiCTR reads such a param"
        if near:
            problems.append(f"{text}; did you mean {near[0]!r}?")
        elif value is not None:
            logging.warning("%s: %s", params.get("model_id"), text)
    return problems


def _classes(model_class: type[nn.Module]) -> list[type]:
    """A model's class and its ancestors below torch's, the oldest first."""
    every = [each for each in model_class.__mro__ if issubclass(each, nn.Module)]
    return [each for each in reversed(every) if each is not nn.Module]


def _defaults(model_class: type[nn.Module]) -> dict[str, Any]:
    """Arguments by name with their defaults, those of the ancestors included; None for none."""
    found: dict[str, Any] = {}
    for each in _classes(model_class):
        if "__init__" not in vars(each):
            continue
        for name, argument in inspect.signature(vars(each)["__init__"]).parameters.items():
            empty = argument.default is inspect.Parameter.empty
            found[name] = None if empty else argument.default
    return found


def _looked_up(model_class: type[nn.Module]) -> Iterator[str]:
    """Names that the files of a model take out of a mapping: ``x["name"]``, ``x.get("name")``."""
    files = {inspect.getsourcefile(each) for each in _classes(model_class)} - {None}
    for file in files:
        for node in ast.walk(ast.parse(Path(str(file)).read_bytes())):
            key: ast.expr | None = None
            if isinstance(node, ast.Subscript):
                key = node.slice
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                key = node.args[0] if node.args and node.func.attr in ("get", "pop") else None
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value


def _problem_beside(default: Any, value: Any) -> str | None:
    """What is wrong with a value, told from the argument's default; None if nothing is.

    Null is "not set" for every argument, and one without a default, or with null, says nothing.
    """
    if value is None or default is None:
        return None
    found = f"found {short(value)}"
    if isinstance(default, bool):
        good = isinstance(value, bool)
        return None if good else f"expected true or false, {found}{meant_bool(value)}"
    if isinstance(default, (int, float)):
        # A list gives one number for each layer.
        each = value if isinstance(value, (list, tuple)) else [value]
        good = all(_is_number(item) or item is None for item in each)
        hint = meant_number(value)
        return None if good else f"expected a number such as {default!r}, {found}{hint}"
    if isinstance(default, str) and (isinstance(value, bool) or _is_number(value)):
        return f"expected a text such as {default!r}, {found}{meant_text(value)}"
    if isinstance(default, (list, tuple)) and default and all(map(is_integer, default)):
        good = isinstance(value, (list, tuple)) and all(map(_is_width, value))
        return None if good else f"expected whole numbers such as {list(default)}, {found}"
    return None


def _is_width(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_width, value))
    return is_integer(value) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
