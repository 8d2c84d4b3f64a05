"""Finds the parts of a FuxiCTR model that taps read: its embedding layer and its hidden layers.

By class name and structure only; nothing here imports the host, so user-defined models qualify too.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

EMBEDDING_CLASSES = ("FeatureEmbeddingDict", "FeatureEmbedding")
TRUNK_CLASS = "MLP_Block"


def _is_a(module: nn.Module, *class_names: str) -> bool:
    return any(base.__name__ in class_names for base in type(module).__mro__)


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def embedding_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(p, m) for p, m in model.named_modules() if _is_a(m, *EMBEDDING_CLASSES)]


def embedding_path(model: nn.Module) -> str | None:
    """The largest embedding layer; its inner dictionary form where there is one.

    First-order terms own small embedding layers of width 1, hence the largest.
    """
    layers = embedding_layers(model)
    if not layers:
        return None
    return max(
        layers,
        key=lambda layer: (_num_parameters(layer[1]), _is_a(layer[1], EMBEDDING_CLASSES[0])),
    )[0]


def hidden_paths(model: nn.Module) -> list[str]:
    """Paths of the trunk's hidden layers. The trunk is the widest MLP outside attention."""
    best: list[str] = []
    best_size = 0
    for path, block in _outside_attention(model, ""):
        layers = _hidden_layers(block)
        if not layers:
            continue
        first = next(m for m in block.modules() if isinstance(m, nn.Linear))
        if _num_parameters(first) > best_size:
            best_size = _num_parameters(first)
            best = [f"{path}.{layer}" if path else layer for layer in layers]
    return best


def _outside_attention(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of every trunk candidate that no attention module owns.

    Attention is known by its class or by the name a model gave it: score networks are often plain
    MLP blocks that are called ``attention``.
    """
    name = path.rpartition(".")[2]
    if "attention" in type(module).__name__.lower() or "attention" in name.lower():
        return
    if _is_a(module, TRUNK_CLASS):
        yield path, module
    for name, child in module.named_children():
        yield from _outside_attention(child, f"{path}.{name}" if path else name)


def _hidden_layers(block: nn.Module) -> list[str]:
    """Paths inside an MLP block of the last module of each hidden layer that is no dropout.

    The block does not say whether its last Linear is an output layer. It is one if it has a
    single unit, or if nothing follows it although an activation follows an earlier one.
    """
    steps = [
        (f"{name}.{index}", module)
        for name, sequential in block.named_children()
        if isinstance(sequential, nn.Sequential)
        for index, module in sequential.named_children()
        if not isinstance(module, nn.Dropout)
    ]
    starts = [i for i, (_, module) in enumerate(steps) if isinstance(module, nn.Linear)]
    if not starts:
        return []
    ends = [start - 1 for start in starts[1:]] + [len(steps) - 1]
    last = steps[starts[-1]][1]
    bare = ends[-1] == starts[-1] and any(e > s for s, e in zip(starts, ends, strict=True))
    if getattr(last, "out_features", 0) == 1 or bare:
        ends.pop()
    return [steps[end][0] for end in ends]
