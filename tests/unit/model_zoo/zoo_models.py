"""The zoo's models on a tiny log: four plain fields, two behaviour sequences, four samples."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fuxictr.features import FeatureMap
from torch import Tensor, nn

from fuxictr_loopfm.config.zoo import load_model_class
from fuxictr_loopfm.host import history_fields
from fuxictr_loopfm.layers.groups import SequenceGroup

ZOO = Path(__file__).parents[3] / "model_zoo"
DIM, MAX_LEN, ITEMS = 4, 6, 9
HOST_PARAMS: dict[str, Any] = {
    "embedding_dim": DIM, "optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["AUC"],
    "verbose": 0, "model_root": "./",
}  # fmt: skip
MODELS = {p.parent.name: load_model_class(p.parent.name, [ZOO])[0] for p in ZOO.glob("*/src")}


def categorical(**more: Any) -> dict[str, Any]:
    return {"type": "categorical", "padding_idx": 0, "vocab_size": ITEMS, **more}


def sequence(of: str, **more: Any) -> dict[str, Any]:
    return {**categorical(share_embedding=of), "type": "sequence", "max_len": MAX_LEN, **more}


PLAIN = {
    "user": categorical(),
    "item": categorical(),
    "cate": categorical(),
    "price": {"type": "numeric"},
}
FEATURES = PLAIN | {"item_his": sequence("item"), "cate_his": sequence("cate")}
NEGATIVES = {"item_neg": sequence("item"), "cate_neg": sequence("cate")}
HISTORIES = ([3, 5, 3], [], [7], [1, 2, 3, 4, 5, 6])
TARGETS, SEQUENCES, SAMPLED = ("item", "cate"), ("item_his", "cate_his"), ("item_neg", "cate_neg")

SMALL = {"dnn_hidden_units": [8], "attention_hidden_units": [6], "batch_norm": False}
FIELDS = {"target_field": TARGETS, "sequence_field": SEQUENCES}
SEQUENTIAL: dict[str, dict[str, Any]] = {
    "DIN": {f"din_{key}": names for key, names in FIELDS.items()} | SMALL,
    "DIEN": {f"dien_{key}": names for key, names in FIELDS.items()}
    | SMALL
    | {"attention_type": "din_attention"},
    "DMIN": FIELDS | SMALL | {"num_heads": 2},
    "DMR": FIELDS | SMALL | {"pos_emb_dim": 3},
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("DIN", {}),
    ("DIN", {"din_use_softmax": True, "attention_hidden_activations": "ReLU"}),
    ("DIEN", {}),
    ("DIEN", {"gru_type": "AGRU", "attention_type": "bilinear_attention"}),
    ("DIEN", {"gru_type": "AIGRU", "use_attention_softmax": False, "enable_sum_pooling": True}),
    ("DIEN", {"gru_type": "GRU", "attention_type": "dot_attention"}),
    ("DMIN", {}),
    ("DMIN", {"use_behavior_refiner": False, "enable_sum_pooling": True, "num_heads": 4}),
    ("DMIN", {"use_pos_emb": False, "layer_norm": False, "attention_activation": "Dice"}),
    ("DMR", {}),
    ("DMR", {"enable_i2i_rel": True, "enable_sum_pooling": True, "use_pos_emb": False}),
    ("DMR", {"enable_u2i_rel": False, "attention_activation": "Dice"}),
    ("DMR", {"context_field": "cate_his"}),
]
# Model: the settings that name its auxiliary loss's weight and negatives.
AUXILIARY = {
    "DIEN": ("aux_loss_alpha", "dien_neg_seq_field"),
    "DMIN": ("aux_loss_lambda", "neg_seq_field"),
    "DMR": ("aux_loss_beta", "neg_seq_field"),
}


def part(model: str, module: str) -> ModuleType:
    """A module of a model's source package, as the model itself imported it."""
    return sys.modules[f"{MODELS[model].__module__.rsplit('.', 1)[0]}.{module}"]


def feature_map(features: Mapping[str, Mapping[str, Any]]) -> FeatureMap:
    result = FeatureMap("tiny", "./")
    result.features = OrderedDict({k: {"source": "", **v} for k, v in features.items()})
    result.labels = ["clk"]
    result.default_emb_dim = DIM
    result.num_fields = result.get_num_fields()
    return result


def build(
    model: str, features: Mapping[str, Mapping[str, Any]], fields: Any = (), **settings: Any
) -> Any:
    """A model on ``features`` and on the histories of ``fields``, always from the same seed."""
    params = {**HOST_PARAMS, **settings}
    shapes = feature_map(features)
    torch.manual_seed(0)
    if not fields:
        return MODELS[model](shapes, **params)
    history_fields.prepare_feature_map(shapes, fields, with_teacher_logit=False)
    return history_fields.build_model(MODELS[model], shapes, params, fields)[0]


def enlarge(model: Any) -> Any:
    """Embeddings and positions large enough to matter; nothing is dropped or normalised."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight[1:] if module.padding_idx == 0 else module.weight)
    return model.eval()


def sequential(model: str, **changes: Any) -> Any:
    """A sequence model that reads both behaviour sequences."""
    return enlarge(build(model, FEATURES, **SEQUENTIAL[model] | changes))


def scattered(module: Any, std: float = 0.7) -> Any:
    """The module with every parameter drawn anew, in evaluation mode."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module.eval()


def batch(length: int = MAX_LEN, side: str = "post") -> dict[str, Tensor]:
    """One sample per history; category ids are the items', moved by one."""
    rows = []
    for history in HISTORIES:
        zeros = [0] * (length - len(history))
        rows.append(history + zeros if side == "post" else zeros + history)
    items = torch.tensor(rows)
    return {
        "user": torch.tensor([1, 2, 3, 4]),
        "item": torch.tensor([3, 4, 5, 6]),
        "cate": torch.tensor([2, 3, 4, 5]),
        "price": torch.tensor([0.5, 1.0, -1.0, 2.0]),
        "item_his": items,
        "cate_his": (items + 1) % ITEMS * (items > 0),
        "clk": torch.tensor([1.0, 0.0, 0.0, 1.0]),
    }


def plain_batch() -> dict[str, Tensor]:
    return {name: value for name, value in batch().items() if not name.endswith("his")}


def with_negatives() -> dict[str, Tensor]:
    inputs = batch()
    for name in ("item", "cate"):
        history = inputs[f"{name}_his"]
        inputs[f"{name}_neg"] = (history + 3) % 8 * (history > 0) + (history > 0)
    return inputs


def any_model(model: str, fields: Any = ()) -> tuple[Any, dict[str, Any]]:
    """A model of either kind, and a batch for it."""
    if model in SEQUENTIAL:
        return enlarge(build(model, FEATURES, fields, **SEQUENTIAL[model])), batch()
    return enlarge(build(model, PLAIN, fields)), plain_batch()


def predict(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    result: Tensor = model(inputs)["y_pred"].detach()
    return result


def group(width: int) -> SequenceGroup:
    return SequenceGroup(("t",), ("s",), (), width, MAX_LEN)


def up_to(*lengths: int) -> Tensor:
    """Mask (B, MAX_LEN) of sequences padded behind."""
    return torch.arange(MAX_LEN) < torch.tensor(lengths).unsqueeze(1)
