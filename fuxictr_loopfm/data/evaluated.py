"""Texts that FuxiCTR runs as Python, held to the few forms that its configurations use.

``feature_encoder`` comes back from ``feature_map.json``, a file that lies among data and that
somebody else may have written, so it is looked at again when that file is read.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from fuxictr_loopfm.prepared.parts import short

_LAYERS = ("layers", "nn")
_INITIALIZERS = ("nn.init", "torch.nn.init")


def feature_problems(feature: Mapping[str, Any]) -> list[str]:
    """What is wrong with the evaluated texts of a feature's description; empty if nothing is."""
    problems = []
    encoder = feature.get("feature_encoder")
    for text in encoder if isinstance(encoder, list) else [encoder]:
        if text and not _is_layer(_parsed(text)):
            problems.append(
                "feature_encoder: expected a layer with plain arguments such as "
                f"layers.MaskedAveragePooling() or nn.Linear(64, 64), found {short(text)}"
            )
    preprocess = feature.get("preprocess")
    # The name before the bracket is looked up among FuxiCTR's own methods; one loads a pickle.
    if preprocess and str(preprocess).partition("(")[0] != "copy_from":
        problems.append(f"preprocess: expected copy_from(COLUMN), found {short(preprocess)}")
    return problems


def param_problems(params: Mapping[str, Any]) -> list[str]:
    """What is wrong with the evaluated texts of FuxiCTR params; empty if nothing is."""
    problems = []
    initializer = params.get("embedding_initializer")
    if isinstance(initializer, str) and not _is_initializer(_parsed(initializer)):
        problems.append(
            "embedding_initializer: expected a function of torch.nn.init such as "
            f"partial(nn.init.normal_, std=1e-4), found {short(initializer)}"
        )
    loss = params.get("loss")
    if isinstance(loss, str) and not loss.isidentifier():
        problems.append(f"loss: expected the name of a loss, found {short(loss)}")
    return problems


def _parsed(text: object) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body if isinstance(text, str) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_layer(node: ast.expr | None) -> bool:
    """``layers.Name(...)``: a class, because functions such as get_initializer evaluate texts."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    is_class = node.func.attr[:1].isupper()
    return is_class and ast.unparse(node.func.value) in _LAYERS and _are_plain(node, node.args)


def _is_initializer(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "partial" and node.args:
        return _is_initializer_name(node.args[0]) and _are_plain(node, node.args[1:])
    return _is_initializer_name(node)


def _is_initializer_name(node: ast.expr | None) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr.startswith("_"):
        return False
    return ast.unparse(node.value) in _INITIALIZERS


def _are_plain(call: ast.Call, arguments: list[ast.expr]) -> bool:
    try:
        for value in (*arguments, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return all(keyword.arg is not None for keyword in call.keywords)
