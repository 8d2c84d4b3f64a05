"""YAML and JSON that anybody may have written: plain data comes out, and nothing is ever built.

Limits keep a small file from becoming a large value: aliases in YAML are references, so a few
lines can stand for gigabytes as soon as somebody prints or copies what they describe.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_YAML_BYTES = 4 << 20
MAX_JSON_BYTES = 64 << 20
MAX_DEPTH = 50
# Characters of a YAML document once every alias is replaced by what it stands for.
MAX_EXPANDED = 16 << 20

# What PyYAML raises for values that do not fit their tag, such as `!!int x` or a 13th month.
_BAD_VALUES = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


class PlainTextError(ValueError):
    """The text cannot be read, or is not plain data. The message names no file."""


class _Extent(NamedTuple):
    """Characters and levels of a node."""

    size: int
    depth: int


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML plus ``!!python/tuple``, which BARS configs use for grouped fields."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise ConstructorError(None, None, f"nested deeper than {MAX_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> Node | None:
        # The whole document, before anything is constructed: merge keys change their mappings.
        node = super().get_single_node()
        if node is not None:
            _measure(node, {}, set())
        return node

    def construct_tuple(self, node: Node) -> tuple[Any, ...]:
        if not isinstance(node, SequenceNode):
            raise ConstructorError(None, None, "a tuple needs a list", node.start_mark)
        return tuple(self.construct_sequence(node, deep=True))


_PlainLoader.add_constructor("tag:yaml.org,2002:python/tuple", _PlainLoader.construct_tuple)


def _measure(node: Node, known: dict[int, _Extent], above: set[int]) -> _Extent:
    """Check a node and what is below it, with all aliases followed; each node is visited once."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise ConstructorError(None, None, "an alias inside of what it stands for", node.start_mark)
    above.add(id(node))
    inner: list[_Extent] = []
    if isinstance(node, SequenceNode):
        inner = [_measure(item, known, above) for item in node.value]
    elif isinstance(node, MappingNode):
        _refuse_duplicates(node)
        inner = [_measure(item, known, above) for pair in node.value for item in pair]
    above.discard(id(node))
    own = len(node.value) if isinstance(node, ScalarNode) else 0
    if isinstance(node, ScalarNode) and not node.value.isascii():
        node.value.encode("utf-8")  # refuses half a character, which no file could be named by
    size = 1 + own + sum(extent.size for extent in inner)
    depth = 1 + max((extent.depth for extent in inner), default=0)
    if depth > MAX_DEPTH or size > MAX_EXPANDED:
        problem = f"aliases stand for more than {MAX_EXPANDED:,} characters or {MAX_DEPTH} levels"
        raise ConstructorError(None, None, problem, node.start_mark)
    known[id(node)] = _Extent(size, depth)
    return known[id(node)]


def _refuse_duplicates(node: MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        name = (key.tag, key.value) if isinstance(key, ScalarNode) else None
        if name in seen:
            problem = f"the key {_short(key.value)} occurs twice in one mapping"
            raise ConstructorError(None, None, problem, key.start_mark)
        if name is not None:
            seen.add(name)


def load_yaml(path: Path) -> Any:
    """The plain value in a YAML file.

    Raises:
        OSError: the file cannot be opened.
        PlainTextError: not UTF-8, not YAML, tags that build objects, a key twice in one mapping,
            or beyond one of this module's limits.
    """
    text = _read(path, MAX_YAML_BYTES)
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 a SafeLoader
    except RecursionError:
        raise PlainTextError(f"nested deeper than {MAX_DEPTH} levels") from None
    except (yaml.YAMLError, *_BAD_VALUES) as error:
        raise PlainTextError(f"is not plain YAML: {error}") from None


def plain_scalars(path: Path) -> dict[tuple[Any, ...], str]:
    """The values of a YAML file that have no quotes, as they are written.

    YAML takes the text NO for false and 010 for 8; this says what stands in the file.

    Returns:
        By the keys and places that lead to a value, as in ``{("keep", 0, "equals"): "NO"}``. Values
        behind an alias are left out, except the first.

    Raises:
        OSError, PlainTextError: as of :func:`load_yaml`.
    """
    load_yaml(path)
    loader = _PlainLoader(_read(path, MAX_YAML_BYTES))
    try:
        root = loader.get_single_node()
    finally:
        loader.dispose()
    found: dict[tuple[Any, ...], str] = {}
    _collect(root, (), found, set())
    return found


def _collect(
    node: Node | None, at: tuple[Any, ...], found: dict[tuple[Any, ...], str], seen: set[int]
) -> None:
    if isinstance(node, ScalarNode):
        if node.style is None:
            found[at] = node.value
    elif isinstance(node, (SequenceNode, MappingNode)) and id(node) not in seen:
        seen.add(id(node))
        if isinstance(node, MappingNode):
            items = [(key.value, value) for key, value in node.value if isinstance(key, ScalarNode)]
        else:
            items = list(enumerate(node.value))
        for name, value in items:
            _collect(value, (*at, name), found, seen)


def load_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: the file cannot be opened.
        PlainTextError: not UTF-8, not JSON, or beyond one of this module's limits.
    """
    return parse_json(_read(path, MAX_JSON_BYTES))


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        PlainTextError: not JSON, nested too deeply, or with half a character (a lone surrogate),
            which no file could be written with.
    """
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise PlainTextError("nested too deeply") from None
    except ValueError as error:
        raise PlainTextError(str(error)) from None
    return value


def _read(path: Path, limit: int) -> str:
    if not path.is_file() and path.exists():
        raise PlainTextError("cannot be read: is no regular file")
    with open(path, "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        found = os.stat(path).st_size
        raise PlainTextError(f"expected at most {limit:,} bytes, found {found:,}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlainTextError(f"is not UTF-8: {error}") from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
