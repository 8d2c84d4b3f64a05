"""Random changes of valid input: values of a JSON-like tree, bytes of a file."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**30, -(10**18)),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ", "x" * 3000, "é", "\u202e", "\0", "\n"),
    *("../../etc/passwd", "/etc/passwd", "a/b", "1", "²", "nan", "__class__", "%s", "{0}", "!!x"),
    *([], {}, [[]], [None], {"": ""}, {"a": {"b": []}}, [1, "a", None], [[[[[1]]]]]),
)
nasty = st.one_of(
    st.sampled_from(NASTY),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(0, 5), max_size=4),
)


def changed_tree(draw: st.DataObject, tree: Any) -> tuple[Any, str]:
    """A copy of a tree with one to three values dropped, replaced, doubled, renamed or nested."""
    tree = copy.deepcopy(tree)
    said = []
    for _ in range(draw.draw(st.integers(1, 3))):
        path = _some_path(draw, tree)
        if not path:
            return draw.draw(nasty), "replaced all"
        parent = tree
        for step in path[:-1]:
            parent = parent[step]
        said.append(_change(draw, parent, path))
    return tree, "; ".join(said)


def _some_path(draw: st.DataObject, tree: Any) -> list[Any]:
    path: list[Any] = []
    while isinstance(tree, (dict, list)) and tree:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        path.append(keys[draw.draw(st.integers(0, len(keys) - 1))])
        tree = tree[path[-1]]
        if draw.draw(st.integers(0, 2)) == 0:
            break
    return path


def _change(draw: st.DataObject, parent: Any, path: list[Any]) -> str:
    key = path[-1]
    how = draw.draw(st.sampled_from(["drop", "replace", "replace", "replace", "double", "nest"]))
    if how == "drop":
        del parent[key]
    elif how == "replace":
        parent[key] = draw.draw(nasty)
        return f"{path} = {str(parent[key])[:80]!r}"
    elif how == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif how == "double":
        parent[draw.draw(st.text(max_size=5))] = copy.deepcopy(parent[key])
    else:
        parent[key] = [parent[key]]
    return f"{how} {path}"


def changed_bytes(draw: st.DataObject, content: bytes) -> tuple[bytes, str]:
    """A copy with a few bytes flipped, overwritten, cut out, put in, or cut off."""
    raw = bytearray(content)
    said = []
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, max(len(raw) - 1, 0)))
        how = draw.draw(
            st.sampled_from(["flip", "flip", "write", "ones", "remove", "insert", "cut"])
        )
        piece = draw.draw(st.binary(min_size=1, max_size=8))
        if how == "flip" and raw:
            raw[place] ^= 1 << (piece[0] % 8)
        elif how == "write":
            raw[place : place + len(piece)] = piece
        elif how == "ones":
            raw[place : place + len(piece)] = b"\xff" * len(piece)
        elif how == "remove":
            del raw[place : place + len(piece)]
        elif how == "insert":
            raw[place:place] = piece
        elif piece[0] < 40:
            del raw[place:]
        said.append(f"{how} {piece.hex()} at {place}")
    return bytes(raw), "; ".join(said)
