"""Finds the parts of a FuxiCTR model that taps read: its embedding layer and its hidden layers.

They are told by class name and structure alone. So a model of one's own qualifies as well, and
nothing here imports FuxiCTR.
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
    """Dotted path and module of every FuxiCTR embedding layer, those of first-order terms too."""
    found = []
    for path, module in model.named_modules():
        if _is_a(module, *EMBEDDING_CLASSES):
            found.append((path, module))
    return found


def embedding_path(model: nn.Module) -> str | None:
    """Dotted path of the embedding layer that taps read; None if the model has none.

    First-order terms own embedding layers of width 1, hence the one with most parameters. A
    ``FeatureEmbedding`` wraps a ``FeatureEmbeddingDict`` with the same parameters; the dictionary
    is taken, because its output names the fields.
    """

    def rank(layer: tuple[str, nn.Module]) -> tuple[int, bool]:
        return _num_parameters(layer[1]), _is_a(layer[1], EMBEDDING_CLASSES[0])

    layers = embedding_layers(model)
    return max(layers, key=rank)[0] if layers else None


def hidden_paths(model: nn.Module) -> list[str]:
    """Dotted paths of the trunk's hidden layers, first to last; empty if there is no trunk.

    The trunk is the MLP outside attention whose first layer has most parameters. A hidden layer's
    path is that of its last module before dropout: what comes out is (B, units).
    """
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
    # Each layer from its Linear on: (path, module) of its steps.
    layers: list[list[tuple[str, nn.Module]]] = []
    for name, sequential in block.named_children():
        if not isinstance(sequential, nn.Sequential):
            continue
        for index, module in sequential.named_children():
            if isinstance(module, nn.Linear):
                layers.append([])
            if layers and not isinstance(module, nn.Dropout):
                layers[-1].append((f"{name}.{index}", module))
    if not layers:
        return []
    last = layers[-1]
    bare = len(last) == 1 and any(len(layer) > 1 for layer in layers)
    if bare or getattr(last[0][1], "out_features", 0) == 1:
        layers.pop()
    return [layer[-1][0] for layer in layers]
