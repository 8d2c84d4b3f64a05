"""A feature map of four fields and a history, its batches, and the stand-in models on it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from fuxictr.features import FeatureMap

from fuxictr_loopfm.config.zoo import load_model_class
from fuxictr_loopfm.host import history_fields
from fuxictr_loopfm.host.shared_history import HistoryField, HistoryProjection
from fuxictr_loopfm.layers.base import EncoderSpec
from fuxictr_loopfm.layers.batch import PaddedHistory

STAND_INS = Path(__file__).parents[2] / "zoo"
HISTORY, WIDTH, D = "loopfm_history", 4, 3
PARAMS: dict[str, Any] = {
    "gpu": -1,
    "embedding_dim": WIDTH,
    "hidden_units": [8, 6],
    "dnn_hidden_units": [8, 6],
    "attention_units": 5,
    "din_target_field": ["item"],
    "din_sequence_field": ["item_his"],
    "learning_rate": 0.01,
    "optimizer": "adam",
    "loss": "binary_crossentropy",
    "metrics": ["AUC"],
    "verbose": 0,
    "model_root": "unused",
}


def field(**changes: Any) -> HistoryField:
    values: dict[str, Any] = {
        "name": HISTORY,
        "columns": ("embedding",),
        "embedding_dim": D,
        "id_columns": (),
        "query_columns": ("item",),
        "encoder": EncoderSpec("din", dim=8, max_len=4),
    }
    return HistoryField(**{**values, **changes})


def tiny_map(
    fields: Any = (), *, sequence: bool = False, with_teacher_logit: bool = False
) -> FeatureMap:
    """user, item, price, hour, optionally a sequence of items, and the histories of ``fields``."""
    result = FeatureMap("tiny", "unused")
    result.features = OrderedDict(
        user={"source": "user", "type": "categorical", "vocab_size": 5},
        item={"source": "item", "type": "categorical", "vocab_size": 7},
        price={"source": "", "type": "numeric"},
        hour={"source": "", "type": "categorical", "vocab_size": 4},
    )
    if sequence:
        result.features["item_his"] = {
            "source": "",
            "type": "sequence",
            "vocab_size": 7,
            "max_len": 3,
            "share_embedding": "item",
        }
    result.labels = ["click"]
    result.default_emb_dim = WIDTH
    history_fields.prepare_feature_map(result, fields, with_teacher_logit)
    return result


def batch(feature_map: FeatureMap, size: int = 6, seed: int = 0) -> dict[str, Any]:
    """Random inputs; the first history is empty, the others hold one event or more."""
    random = torch.Generator().manual_seed(seed)
    result: dict[str, Any] = {}
    for name, spec in feature_map.features.items():
        if spec["type"] == "categorical":
            result[name] = torch.randint(1, spec["vocab_size"], (size,), generator=random)
        elif spec["type"] == "numeric":
            result[name] = torch.randn(size, generator=random)
        elif spec["type"] == "sequence":
            shape = (size, spec["max_len"])
            result[name] = torch.randint(0, spec["vocab_size"], shape, generator=random)
        elif spec["type"] == history_fields.SEQUENCE_TYPE:
            result[name] = history(size, random)
        elif name == history_fields.TEACHER_LOGIT:
            result[name] = torch.randn(size, generator=random)
    result["click"] = (torch.arange(size) % 2).float()
    return result


def history(size: int, random: torch.Generator, length: int = 4) -> PaddedHistory:
    valid = torch.arange(size) % length
    mask = torch.arange(length) >= length - valid.unsqueeze(1)
    kept = mask.unsqueeze(-1)
    return PaddedHistory(
        mask=mask,
        embedding=torch.randn(size, length, D, generator=random) * kept,
        label=torch.randint(1, 3, (size, length), generator=random) * mask,
        log_age=torch.rand(size, length, generator=random) * mask,
        ids={"item": torch.randint(1, 7, (size, length), generator=random) * mask},
    )


def stand_in(name: str) -> Any:
    """The class of a model of ``tests/zoo``."""
    return load_model_class(name, [STAND_INS])[0]


def build(name: str, fields: Any = (), *, logit: bool = False, **params: Any) -> Any:
    """A stand-in on the tiny map, in training mode, always from the same seed."""
    feature_map = tiny_map(fields, sequence=name == "DINLike", with_teacher_logit=logit)
    torch.manual_seed(0)
    model, shared = history_fields.build_model(
        stand_in(name), feature_map, {**PARAMS, "model_id": name, **params}, fields
    )
    model._max_gradient_norm = 10.0
    object.__setattr__(model, "loopfm_histories", shared)
    return model.train()


def projections(model: Any) -> list[HistoryProjection]:
    """All fields that a model's embedding layers hold for its histories."""
    return [m for m in model.modules() if isinstance(m, HistoryProjection)]
